//! What a matched rule does: redirect, refuse, or forward with edits to one of its backends.

use tamis_sdk::types::{Edit, Reply};
use tamis_sdk::{ConfigError, reply, router};

use crate::condition::TooLong;
use crate::config::{
    FilterKind, HeaderEdits, MirrorFilter, MirrorShare, PathChange, PathChangeKind, RedirectFilter,
    RouteRule, RuleFilter,
};
use crate::pattern::without_port;

/// Reason of the status 500 for a rule without a backend.
const NO_BACKEND: &str = "route.no-backend";
const TOO_LONG: &str = "route.too-long";
/// Octets of path and query that may be sent to a backend: as many as the host lets a client or a filter write.
const MAX_PATH_OCTETS: usize = 65_534;
/// Octets of a `location`: the head of a response has 64 KiB, and the host writes some fields of it.
const MAX_LOCATION_OCTETS: usize = 63 * 1024;

/// A rule, compiled.
#[derive(Clone, Debug, Default)]
pub struct Action {
    changes: Changes,
    backends: Vec<Backend>,
    total_weight: u64,
    redirect: Option<RedirectFilter>,
    request_timeout_ms: u32,
    attempt_timeout_ms: u32,
}

#[derive(Clone, Debug)]
struct Backend {
    index: u32,
    weight: u32,
    changes: Changes,
}

/// The edits that filters of a rule or a backend request.
#[derive(Clone, Debug, Default)]
struct Changes {
    request: Vec<Edit>,
    response: Vec<Edit>,
    mirrors: Vec<router::Mirror>,
    path: Option<PathChange>,
}

/// The parts of the request that an action needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTarget<'a> {
    /// Number of the exchange; decides between weighted backends.
    pub exchange: u64,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port.
    pub authority: &'a str,
    /// Path without query.
    pub path: &'a str,
    /// Query without `?`.
    pub query: &'a str,
    /// The prefix by which the rule matched, if it did.
    pub prefix: Option<&'a str>,
}

impl Action {
    /// Compiles a rule; services it names are added to `services`.
    ///
    /// # Errors
    /// Each filter that is incomplete or not allowed in its place; `pointer` is the place of the rule.
    pub fn new(
        rule: &RouteRule,
        services: &mut Services,
        pointer: &str,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut action = Self {
            request_timeout_ms: rule.timeouts.request.map_or(0, |limit| limit.millis()),
            attempt_timeout_ms: rule.timeouts.backend_request.map_or(0, |limit| limit.millis()),
            ..Self::default()
        };
        for (index, filter) in rule.filters.iter().enumerate() {
            let place = format!("{pointer}/filters/{index}");
            if filter.kind == FilterKind::RequestRedirect {
                action.redirect = checked_redirect(filter, &place, &mut errors);
            } else if let Err(error) = action.changes.take(filter, services, &place) {
                errors.push(error);
            }
        }
        for (index, backend) in rule.backend_refs.iter().enumerate() {
            let mut changes = Changes::default();
            for (at, filter) in backend.filters.iter().enumerate() {
                let place = format!("{pointer}/backendRefs/{index}/filters/{at}");
                errors.extend(changes.take(filter, services, &place).err());
            }
            action.total_weight += u64::from(backend.weight);
            action.backends.push(Backend {
                index: services.index(&backend.service),
                weight: backend.weight,
                changes,
            });
        }
        if errors.is_empty() { Ok(action) } else { Err(errors) }
    }

    /// The choice for one request.
    #[must_use]
    pub fn choose(&self, rule: u32, target: &RequestTarget<'_>) -> router::Choice {
        if let Some(redirect) = &self.redirect {
            return router::Choice::Answer(redirected(redirect, target));
        }
        // No backend, or all of weight 0: the Gateway API requires a 500.
        let Some(backend) = self.pick(target.exchange) else {
            return router::Choice::Answer(no_backend());
        };
        match self.forward(rule, backend, target) {
            Some(selection) => router::Choice::Forward(selection),
            None => router::Choice::Answer(too_long(TooLong::Target)),
        }
    }

    /// Whether it needs path and query.
    #[must_use]
    pub fn reads_path(&self) -> bool {
        self.redirect.is_some() || self.all_changes().any(|changes| changes.path.is_some())
    }

    /// Whether it needs scheme and authority.
    #[must_use]
    pub fn reads_origin(&self) -> bool {
        self.redirect.is_some()
    }

    /// Names of the request fields that its edits change.
    pub fn request_writes(&self) -> impl Iterator<Item = &str> {
        self.all_changes().flat_map(|changes| {
            let path = changes.path.is_some().then_some(":path");
            changes.request.iter().map(written).chain(path)
        })
    }

    /// Names of the response fields that its edits change.
    pub fn response_writes(&self) -> impl Iterator<Item = &str> {
        self.all_changes().flat_map(|changes| changes.response.iter().map(written))
    }

    fn all_changes(&self) -> impl Iterator<Item = &Changes> {
        std::iter::once(&self.changes).chain(self.backends.iter().map(|backend| &backend.changes))
    }

    /// Picks by weight; the same exchange always gets the same backend.
    fn pick(&self, exchange: u64) -> Option<&Backend> {
        let mut ticket = splitmix64(exchange).checked_rem(self.total_weight)?;
        self.backends.iter().find(|backend| {
            let weight = u64::from(backend.weight);
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        })
    }

    /// `None`: the path of the request is too long once it is rewritten.
    fn forward(
        &self,
        rule: u32,
        backend: &Backend,
        target: &RequestTarget<'_>,
    ) -> Option<router::Selection> {
        let both = [&self.changes, &backend.changes];
        let path = both.iter().rev().find_map(|changes| changes.path.as_ref());
        let path = path.map(|path| rewritten(path, target));
        if path.as_ref().is_some_and(|path| path.len() > MAX_PATH_OCTETS) {
            return None;
        }
        let mut request_edits = joined(both.map(|changes| changes.request.as_slice()));
        request_edits.extend(path.map(Edit::path));
        Some(router::Selection {
            rule,
            backend: backend.index,
            request_timeout_ms: self.request_timeout_ms,
            attempt_timeout_ms: self.attempt_timeout_ms,
            hash: None,
            request_edits,
            response_edits: joined(both.map(|changes| changes.response.as_slice())),
            mirrors: joined(both.map(|changes| changes.mirrors.as_slice())),
        })
    }
}

/// States, as every refusal does, why there is no response of an application.
pub(crate) fn no_backend() -> Reply {
    reply(500)
        .header("x-tamis-reason", NO_BACKEND)
        .text(format!("Internal Server Error ({NO_BACKEND})\n"))
}

/// The answer to a request with a part that does not fit where the rule sends it, or that is too long for an expression: the
/// client wrote it, so it may not become a fault of this filter.
pub(crate) fn too_long(part: TooLong) -> Reply {
    let (status, phrase) = match part {
        TooLong::Target => (414, "URI Too Long"),
        TooLong::Header => (431, "Request Header Fields Too Large"),
    };
    reply(status).header("x-tamis-reason", TOO_LONG).text(format!("{phrase} ({TOO_LONG})\n"))
}

fn joined<T: Clone>(both: [&[T]; 2]) -> Vec<T> {
    both.concat()
}

/// Services by index, each once.
#[derive(Clone, Debug, Default)]
pub struct Services {
    names: Vec<String>,
    known: std::collections::HashMap<String, u32>,
}

impl Services {
    /// Index of a service, added when new.
    pub fn index(&mut self, name: &str) -> u32 {
        if let Some(index) = self.known.get(name) {
            return *index;
        }
        let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.known.insert(name.to_owned(), index);
        index
    }

    /// All of them, in order.
    #[must_use]
    pub fn into_names(self) -> Vec<String> {
        self.names
    }
}

impl Changes {
    fn take(
        &mut self,
        filter: &RuleFilter,
        services: &mut Services,
        pointer: &str,
    ) -> Result<(), ConfigError> {
        let missing = |field: &str| {
            ConfigError::at(pointer, format!("this filter type requires the field {field:?}"))
        };
        match filter.kind {
            FilterKind::RequestHeaderModifier => {
                let headers = filter.request_header_modifier.as_ref();
                modify(&mut self.request, headers.ok_or_else(|| missing("requestHeaderModifier"))?);
            }
            FilterKind::ResponseHeaderModifier => {
                let headers = filter.response_header_modifier.as_ref();
                let headers = headers.ok_or_else(|| missing("responseHeaderModifier"))?;
                modify(&mut self.response, headers);
            }
            FilterKind::RequestMirror => {
                let mirror = filter.request_mirror.as_ref();
                let mirror = mirror.ok_or_else(|| missing("requestMirror"))?;
                self.mirrors.push(router::Mirror {
                    backend: services.index(&mirror.backend_ref.service),
                    share_permille: share(mirror, &format!("{pointer}/requestMirror"))?,
                });
            }
            FilterKind::UrlRewrite => {
                let rewrite = filter.url_rewrite.as_ref().ok_or_else(|| missing("urlRewrite"))?;
                self.request.extend(rewrite.hostname.as_ref().map(Edit::authority));
                if let Some(path) = &rewrite.path {
                    check_path(path, &format!("{pointer}/urlRewrite/path"))?;
                    self.path = Some(path.clone());
                }
            }
            FilterKind::RequestRedirect => {
                return Err(ConfigError::at(
                    pointer,
                    "a redirect is not sent to a backend; put the filter on the rule",
                ));
            }
        }
        Ok(())
    }
}

fn modify(edits: &mut Vec<Edit>, modifier: &HeaderEdits) {
    let name = |name: &str| name.to_ascii_lowercase();
    edits.extend(modifier.set.iter().map(|h| Edit::set(name(&h.name), h.value.clone())));
    edits.extend(modifier.add.iter().map(|h| Edit::add(name(&h.name), h.value.clone())));
    edits.extend(modifier.remove.iter().map(|h| Edit::remove(name(h))));
}

fn written(edit: &Edit) -> &str {
    match edit {
        Edit::SetHeader(field) | Edit::AddHeader(field) => &field.name,
        Edit::RemoveHeader(name) => name,
        Edit::SetPath(_) => ":path",
        Edit::SetAuthority(_) => ":authority",
        Edit::SetAttribute(attribute) => &attribute.name,
        Edit::SetStatus(_) => ":status",
        Edit::SetMethod(_) => ":method",
    }
}

/// Share of a mirror in thousandths; 1000 when neither field is set.
fn share(mirror: &MirrorFilter, pointer: &str) -> Result<u32, ConfigError> {
    let (part, whole, field) = match (mirror.percent, mirror.fraction) {
        (None, None) => (1, 1, ""),
        (Some(percent), None) => (percent, 100, "/percent"),
        (None, Some(MirrorShare { numerator, denominator })) => {
            (numerator, denominator, "/fraction")
        }
        (Some(_), Some(_)) => {
            return Err(ConfigError::at(pointer, "set percent or fraction, not both"));
        }
    };
    let permille = (u64::from(part) * 1000).checked_div(u64::from(whole));
    permille.and_then(|share| u32::try_from(share).ok()).filter(|share| *share <= 1000).ok_or_else(
        || ConfigError::at(format!("{pointer}{field}"), "a share must be from 0 to 100 %"),
    )
}

fn checked_redirect(
    filter: &RuleFilter,
    pointer: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<RedirectFilter> {
    let Some(redirect) = &filter.request_redirect else {
        let message = "this filter type requires the field \"requestRedirect\"";
        errors.push(ConfigError::at(pointer, message));
        return None;
    };
    let place = format!("{pointer}/requestRedirect");
    if !matches!(redirect.status_code, None | Some(301 | 302 | 303 | 307 | 308)) {
        let message = "the status of a redirect must be 301, 302, 303, 307 or 308";
        errors.push(ConfigError::at(format!("{place}/statusCode"), message));
    }
    if !matches!(redirect.scheme.as_deref(), None | Some("http" | "https")) {
        errors.push(ConfigError::at(format!("{place}/scheme"), "the scheme must be http or https"));
    }
    let path = redirect.path.as_ref();
    errors.extend(path.and_then(|path| check_path(path, &format!("{place}/path")).err()));
    Some(redirect.clone())
}

fn check_path(path: &PathChange, pointer: &str) -> Result<(), ConfigError> {
    let (value, field) = match path.kind {
        PathChangeKind::ReplaceFullPath => (&path.replace_full_path, "replaceFullPath"),
        PathChangeKind::ReplacePrefixMatch => (&path.replace_prefix_match, "replacePrefixMatch"),
    };
    match value {
        Some(_) => Ok(()),
        None => Err(ConfigError::at(pointer, format!("this type requires the field {field:?}"))),
    }
}

/// Path and query after a change of the path.
fn rewritten(modifier: &PathChange, target: &RequestTarget<'_>) -> String {
    let mut path = match modifier.kind {
        PathChangeKind::ReplaceFullPath => modifier.replace_full_path.clone().unwrap_or_default(),
        PathChangeKind::ReplacePrefixMatch => {
            let new = modifier.replace_prefix_match.as_deref().unwrap_or_default();
            let rest = target.path.strip_prefix(target.prefix.unwrap_or_default());
            new.trim_end_matches('/').to_owned() + rest.unwrap_or(target.path)
        }
    };
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    with_query(path, target.query)
}

fn with_query(mut path: String, query: &str) -> String {
    if !query.is_empty() {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// Gateway API, `HTTPRequestRedirectFilter`: a port that the scheme implies is left out.
fn redirected(redirect: &RedirectFilter, target: &RequestTarget<'_>) -> Reply {
    let scheme = redirect.scheme.as_deref().unwrap_or(target.scheme);
    let asked_host = without_port(target.authority);
    let host = redirect.hostname.as_deref().unwrap_or(asked_host);
    let asked_port = || {
        let port = target.authority.get(asked_host.len() + 1..)?;
        port.parse().ok().filter(|_| redirect.scheme.is_none())
    };
    let port = redirect.port.or_else(asked_port);
    let implied = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)));
    let port = port.filter(|_| !implied).map_or(String::new(), |port| format!(":{port}"));
    let path = match &redirect.path {
        Some(path) => rewritten(path, target),
        None => with_query(target.path.to_owned(), target.query),
    };
    // An HTTP/1.0 request may have no host: then the location is a path, which the client resolves itself
    // (RFC 9110 §10.2.2).
    let origin = if host.is_empty() { String::new() } else { format!("{scheme}://{host}{port}") };
    let location = format!("{origin}{path}");
    if location.len() > MAX_LOCATION_OCTETS {
        return too_long(TooLong::Target);
    }
    reply(redirect.status_code.unwrap_or(302)).header("location", location)
}

/// Spreads exchange numbers, which are consecutive, over all of 64 bits (Steele, Lea, Flood 2014).
fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
