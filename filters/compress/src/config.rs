//! What the operator writes, and the rules that it becomes.

use serde::Deserialize;
use tamis_sdk::{ConfigError, Responses};

use crate::accept::Coding;
use crate::media::MediaPattern;

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CompressSettings {
    /// Codings in the order of preference. Default: [`CODINGS`].
    pub codings: Option<Vec<Coding>>,
    /// Media types. Default: [`MEDIA_TYPES`].
    pub content_types: Option<Vec<String>>,
    /// Octets of the shortest body. Default: [`MIN_LENGTH`].
    pub min_length: Option<u64>,
    /// Responses to pages of other sites.
    pub cross_site: CrossSiteRule,
    /// Which responses.
    pub responses: EncodedResponses,
}

/// Which responses to requests of other sites are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CrossSiteRule {
    /// Those that everybody may have.
    #[default]
    Public,
    /// All.
    All,
}

/// Whose responses are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EncodedResponses {
    /// Of upstreams and of this proxy.
    #[default]
    All,
    /// Of upstreams.
    Upstream,
    /// Of this proxy and its filters.
    Local,
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressRules {
    /// In the order of preference.
    pub codings: Vec<Coding>,
    /// Media types.
    pub media: Vec<MediaPattern>,
    /// Octets of the shortest body.
    pub min_length: u64,
    /// Responses to pages of other sites.
    pub cross_site: CrossSiteRule,
    /// Which responses.
    pub responses: Responses,
}

/// The cheapest coding of about the same result comes first.
pub const CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];
/// What becomes much smaller.
pub const MEDIA_TYPES: [&str; 13] = [
    "text/*",
    "*+json",
    "*+xml",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/x-ndjson",
    "application/x-javascript",
    "font/otf",
    "font/ttf",
    "application/vnd.ms-fontobject",
    "image/bmp",
];
/// Octets: a shorter body is in one packet with its head anyway.
pub const MIN_LENGTH: u64 = 1_024;
/// Octets: an operator who wants less encoded should name fewer media types.
const MAX_MIN_LENGTH: u64 = 1_048_576;
/// Entries of the list of media types.
const MAX_ENTRIES: usize = 64;

impl CompressRules {
    /// Checks settings.
    ///
    /// # Errors
    /// All errors, each with its JSON pointer and the way out.
    pub fn check(settings: &CompressSettings) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let codings = codings(settings.codings.as_deref(), &mut errors);
        let media = media(settings.content_types.as_deref(), &mut errors);
        let min_length = settings.min_length.unwrap_or(MIN_LENGTH);
        if min_length > MAX_MIN_LENGTH {
            errors.push(ConfigError::at("/minLength", "at most 1048576 octets, 1 MiB"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let responses = match settings.responses {
            EncodedResponses::All => Responses::All,
            EncodedResponses::Upstream => Responses::Upstream,
            EncodedResponses::Local => Responses::Local,
        };
        Ok(Self { codings, media, min_length, cross_site: settings.cross_site, responses })
    }
}

fn codings(written: Option<&[Coding]>, errors: &mut Vec<ConfigError>) -> Vec<Coding> {
    let Some(written) = written else { return CODINGS.to_vec() };
    if written.is_empty() {
        errors.push(ConfigError::at("/codings", "name at least one of zstd, br and gzip"));
    }
    for (index, coding) in written.iter().enumerate() {
        if written.iter().take(index).any(|before| before == coding) {
            let why = "this coding is named twice: keep the first one";
            errors.push(ConfigError::at(format!("/codings/{index}"), why));
        }
    }
    written.to_vec()
}

fn media(written: Option<&[String]>, errors: &mut Vec<ConfigError>) -> Vec<MediaPattern> {
    let Some(written) = written else {
        return MEDIA_TYPES.iter().filter_map(|text| MediaPattern::parse(text)).collect();
    };
    if written.is_empty() || written.len() > MAX_ENTRIES {
        let why = "name 1 to 64 media types, such as text/*; to encode nothing, detach the filter";
        errors.push(ConfigError::at("/contentTypes", why));
        return Vec::new();
    }
    let mut media = Vec::new();
    for (index, text) in written.iter().enumerate() {
        match MediaPattern::parse(text) {
            Some(pattern) => media.push(pattern),
            None => errors.push(ConfigError::at(
                format!("/contentTypes/{index}"),
                "write TYPE/SUBTYPE, TYPE/* or *+SUFFIX, such as text/html, text/* or *+json; no parameters",
            )),
        }
    }
    media
}
