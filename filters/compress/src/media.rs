//! Media types, and patterns of them.

/// Media types that are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaPattern {
    /// `TYPE/SUBTYPE`, in lower case.
    One(String),
    /// `TYPE/*`: begins with this.
    Type(String),
    /// `*+SUFFIX`: ends with this, the `+` included.
    Suffix(String),
}

/// A stream of events that somebody waits for: small ones, which hardly become smaller.
const EVENTS: &str = "text/event-stream";

impl MediaPattern {
    /// Parses a pattern; `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if let Some(suffix) = text.strip_prefix('*') {
            let is_suffix = suffix.strip_prefix('+').is_some_and(is_token);
            return is_suffix.then(|| Self::Suffix(suffix.to_owned()));
        }
        let (kind, subtype) = text.split_once('/')?;
        if !is_token(kind) || kind.contains('*') {
            return None;
        }
        match subtype {
            "*" => Some(Self::Type(format!("{kind}/"))),
            _ if is_token(subtype) && !subtype.contains('*') => Some(Self::One(text)),
            _ => None,
        }
    }

    /// Whether it covers a media type in lower case.
    #[must_use]
    pub fn covers(&self, media: &str) -> bool {
        match self {
            Self::One(one) => one == media,
            Self::Type(start) => media.starts_with(start.as_str()) && media != EVENTS,
            Self::Suffix(end) => media.ends_with(end.as_str()),
        }
    }
}

/// The media type of a `content-type`, in lower case and without parameters; `None`: it has none that is text.
#[must_use]
pub fn media_type(value: &[u8]) -> Option<String> {
    let kind = value.split(|octet| *octet == b';').next()?.trim_ascii();
    std::str::from_utf8(kind).ok().map(str::to_ascii_lowercase)
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    !text.is_empty() && text.len() <= 127 && text.bytes().all(token)
}
