//! Rules of routes across several fields; the schema checks fields one at a time.
//!
//! They are the rules of the Gateway API (the validation of its `HTTPRoute` and `GRPCRoute`) and those of
//! HTTP about what may be written to a message. Only the rule that breaks one is refused: it responds 500,
//! the other rules serve.

use std::collections::BTreeSet;

use crate::kinds::{
    GrpcRouteSpec, HeaderModifier, HttpMatch, HttpRouteSpec, PathMatchType, PathModifier,
    PathModifierType, RequestMirror, RequestRedirect, RouteFilter, RouteFilterType, RouteTimeouts,
    ValueMatch, ValueMatchType,
};
use crate::narrow::is_of_the_host;

/// A fault in a rule of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokenRule {
    /// Its index.
    pub(crate) rule: usize,
    /// The place in the document.
    pub(crate) pointer: String,
    /// The fault.
    pub(crate) message: String,
    /// The way out.
    pub(crate) help: &'static str,
    /// Whether the rule's matches are unknown because of it.
    pub(crate) matches: bool,
}

/// Longest path of a match, in bytes (Gateway API, `HTTPPathMatch.value`).
const MAX_PATH_BYTES: usize = 1024;
/// Largest weight of a backend (Gateway API, `BackendRef.weight`).
const MAX_WEIGHT: u32 = 1_000_000;
/// Headers that frame a message or belong to one connection; only the proxy writes them (RFC 9110 §7.6.1,
/// RFC 9112 §6).
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

struct RuleBreaks {
    rule: usize,
    broken: Vec<BrokenRule>,
    /// A listener of the route decodes the escapes of every character that a segment may contain.
    decodes_segments: bool,
}

impl RuleBreaks {
    fn add(&mut self, pointer: String, message: impl Into<String>, help: &'static str) {
        let (rule, message) = (self.rule, message.into());
        self.broken.push(BrokenRule { rule, pointer, message, help, matches: false });
    }

    fn unmatched(&mut self, pointer: String, message: impl Into<String>, help: &'static str) {
        let (rule, message) = (self.rule, message.into());
        self.broken.push(BrokenRule { rule, pointer, message, help, matches: true });
    }
}

/// Faults in the rules of an `HTTPRoute`. `decodes_segments`: a listener of the route decodes the escapes of every character
/// that a segment may contain, which is the default.
pub(crate) fn http(spec: &HttpRouteSpec, decodes_segments: bool) -> Vec<BrokenRule> {
    let mut found = RuleBreaks { rule: 0, broken: Vec::new(), decodes_segments };
    for (at, rule) in spec.rules.iter().enumerate() {
        found.rule = at;
        let base = format!("/spec/rules/{at}");
        for (index, one) in rule.matches.iter().enumerate() {
            http_match(&mut found, one, &format!("{base}/matches/{index}"));
        }
        filters(&mut found, &rule.filters, &base, FilterListPlace::Rule);
        let prefix = |one: &HttpMatch| {
            let kind = one.path.as_ref().and_then(|path| path.kind);
            matches!(kind, None | Some(PathMatchType::PathPrefix))
        };
        let all_prefixes = rule.matches.iter().all(prefix);
        let mut replaces = replaced(&rule.filters, &base);
        let redirects = has(&rule.filters, RouteFilterType::RequestRedirect);
        if redirects && !rule.backend_refs.is_empty() {
            found.add(
                format!("{base}/backendRefs"),
                "a rule with a redirect must not have backends",
                "remove backendRefs or the RequestRedirect",
            );
        }
        for (index, backend) in rule.backend_refs.iter().enumerate() {
            let pointer = format!("{base}/backendRefs/{index}");
            weight(&mut found, backend.weight, &pointer);
            filters(&mut found, &backend.filters, &pointer, FilterListPlace::Backend);
            replaces.extend(replaced(&backend.filters, &pointer));
        }
        for pointer in replaces.into_iter().filter(|_| !all_prefixes) {
            found.add(
                pointer,
                "ReplacePrefixMatch needs a match by PathPrefix, and a match of this rule is of another type",
                "match only by PathPrefix, or replace the full path",
            );
        }
        if let Some(timeouts) = &rule.timeouts {
            patience(&mut found, timeouts, &format!("{base}/timeouts"));
        }
    }
    found.broken
}

/// Faults in the rules of a `GRPCRoute`.
pub(crate) fn grpc(spec: &GrpcRouteSpec) -> Vec<BrokenRule> {
    let mut found = RuleBreaks { rule: 0, broken: Vec::new(), decodes_segments: true };
    for (at, rule) in spec.rules.iter().enumerate() {
        found.rule = at;
        let base = format!("/spec/rules/{at}");
        for (index, one) in rule.matches.iter().enumerate() {
            let pointer = format!("{base}/matches/{index}");
            values(&mut found, &one.headers, &format!("{pointer}/headers"), true);
            let Some(method) = &one.method else { continue };
            let pointer = format!("{pointer}/method");
            if method.service.is_none() && method.method.is_none() {
                let help = "write one of them, or remove `method` to match every call";
                found.unmatched(pointer.clone(), "neither service nor method is named", help);
            }
            let exact = method.kind != Some(ValueMatchType::RegularExpression);
            for (name, value) in [("service", &method.service), ("method", &method.method)] {
                let fits =
                    |text: &String| !text.is_empty() && !text.contains(['/', ' ', '?', '#', '%']);
                if exact && value.as_ref().is_some_and(|text| !fits(text)) {
                    let message = format!("no call can have that {name}");
                    let help = "write a name like shop.Cart or Add";
                    found.unmatched(format!("{pointer}/{name}"), message, help);
                }
            }
        }
        filters(&mut found, &rule.filters, &base, FilterListPlace::Grpc);
        for (index, backend) in rule.backend_refs.iter().enumerate() {
            let pointer = format!("{base}/backendRefs/{index}");
            weight(&mut found, backend.weight, &pointer);
            filters(&mut found, &backend.filters, &pointer, FilterListPlace::Grpc);
        }
    }
    found.broken
}

/// Where a list of filters is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FilterListPlace {
    Rule,
    Backend,
    Grpc,
}

fn http_match(found: &mut RuleBreaks, one: &HttpMatch, pointer: &str) {
    values(found, &one.headers, &format!("{pointer}/headers"), true);
    values(found, &one.query_params, &format!("{pointer}/queryParams"), false);
    let Some(path) = &one.path else { return };
    let value = path.value.as_deref().unwrap_or("/");
    let pointer = format!("{pointer}/path/value");
    if value.len() > MAX_PATH_BYTES {
        let message = format!("a path has at most {MAX_PATH_BYTES} bytes");
        found.unmatched(pointer.clone(), message, "shorten it");
    }
    if path.kind == Some(PathMatchType::RegularExpression) {
        return;
    }
    if let Some(rule) = never_a_path(value, found.decodes_segments) {
        let help = "write the path as it is matched: absolute, decoded, without dot segments";
        found.unmatched(pointer, format!("no request can have the path `{value}`: {rule}"), help);
    }
}

/// Why no normalised request can have such a path (RFC 3986 §6.2.2); `None` if one can.
fn never_a_path(path: &str, decodes_segments: bool) -> Option<&'static str> {
    let lower = path.to_ascii_lowercase();
    let dots = path.split('/').any(|part| part == "." || part == "..");
    let rows = [
        (!path.starts_with('/'), "a path must begin with `/`"),
        (path.contains("//"), "it has `//`"),
        (dots, "it has `.` or `..` as a segment"),
        (lower.contains("%2f"), "it has an encoded slash"),
        (path.contains('\\') || lower.contains("%5c"), "it has a backslash, which is refused"),
        (path.contains('#'), "`#` begins a fragment, which is never sent"),
        (path.contains('?'), "`?` begins the query; match it under queryParams"),
        (
            path.contains(|c: char| c.is_control() || c == ' '),
            "it has a space or control character",
        ),
    ];
    rows.into_iter()
        .find(|(broken, _)| *broken)
        .map(|(_, rule)| rule)
        .or_else(|| misspelled(path, decodes_segments))
}

/// Why a path is not spelled as requests are when it is matched; `None` if it is.
fn misspelled(path: &str, decodes_segments: bool) -> Option<&'static str> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {}
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                return Some("it has a character that is matched as an escape, such as %7C");
            }
            _ if byte.is_ascii() => continue,
            _ => return Some("it has a character that is matched as escapes, such as %C3%A9"),
        }
        let Some((digits, after)) = after.split_at_checked(2) else {
            return Some("`%` must be followed by two hexadecimal digits");
        };
        rest = after;
        let digits = str::from_utf8(digits).unwrap_or_default();
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Some("`%` must be followed by two hexadecimal digits");
        }
        match u8::from_str_radix(digits, 16) {
            Ok(0) => return Some("it has NUL, which is refused"),
            Ok(byte) if decodes_segments && b"!$&'()*+,=:@".contains(&byte) => {
                return Some(
                    "it escapes one of `!$&'()*+,=:@`, which a listener of the route decodes first",
                );
            }
            Ok(byte) if unreserved(byte) => {
                return Some(
                    "it escapes a letter, a digit or one of `-._~`, which is decoded first",
                );
            }
            _ if digits.bytes().any(|digit| digit.is_ascii_lowercase()) => {
                return Some("its escapes are matched in upper case, such as %C3");
            }
            _ => {}
        }
    }
    None
}

/// Conditions on headers or query parameters: each name once (Gateway API: of equal names only the first
/// would count).
fn values(found: &mut RuleBreaks, all: &[ValueMatch], pointer: &str, headers: bool) {
    let mut seen = BTreeSet::new();
    for (at, one) in all.iter().enumerate() {
        let name = if headers { one.name.to_ascii_lowercase() } else { one.name.clone() };
        let pointer = format!("{pointer}/{at}/name");
        if headers && !is_token(&name) {
            let message = format!("`{}` is not the name of a header", one.name);
            found.unmatched(pointer.clone(), message, "a name must be a token (RFC 9110 §5.1)");
        }
        if !seen.insert(name) {
            let message = format!("`{}` has a condition already in this match", one.name);
            found.unmatched(pointer, message, "keep one condition for each name");
        }
    }
}

fn weight(found: &mut RuleBreaks, weight: Option<u32>, pointer: &str) {
    if weight.is_some_and(|weight| weight > MAX_WEIGHT) {
        let message = format!("a weight is at most {MAX_WEIGHT}");
        found.add(format!("{pointer}/weight"), message, "weights are shares; divide them all");
    }
}

fn patience(found: &mut RuleBreaks, timeouts: &RouteTimeouts, pointer: &str) {
    let (Some(whole), Some(attempt)) = (timeouts.request, timeouts.backend_request) else { return };
    // Zero means no limit.
    if whole.0 > 0 && attempt.0 > whole.0 {
        found.add(
            format!("{pointer}/backendRequest"),
            format!("an attempt may take {attempt}, the whole request {whole}"),
            "set backendRequest to at most request",
        );
    }
}

fn has(filters: &[RouteFilter], kind: RouteFilterType) -> bool {
    filters.iter().any(|filter| filter.kind == kind)
}

/// Places of `ReplacePrefixMatch`.
fn replaced(filters: &[RouteFilter], base: &str) -> Vec<String> {
    let replaces = |path: Option<&PathModifier>| {
        path.is_some_and(|path| path.kind == PathModifierType::ReplacePrefixMatch)
    };
    let mut places = Vec::new();
    for (at, filter) in filters.iter().enumerate() {
        let redirect = filter.request_redirect.as_ref().and_then(|one| one.path.as_ref());
        let rewrite = filter.url_rewrite.as_ref().and_then(|one| one.path.as_ref());
        for (name, path) in [("requestRedirect", redirect), ("urlRewrite", rewrite)] {
            if replaces(path) {
                places.push(format!("{base}/filters/{at}/{name}/path/type"));
            }
        }
    }
    places
}

fn filters(found: &mut RuleBreaks, filters: &[RouteFilter], base: &str, place: FilterListPlace) {
    use RouteFilterType::{RequestMirror, RequestRedirect, URLRewrite};
    let mut seen: Vec<RouteFilterType> = Vec::new();
    for (at, filter) in filters.iter().enumerate() {
        let pointer = format!("{base}/filters/{at}");
        // A request may be copied to several services.
        if seen.contains(&filter.kind) && filter.kind != RequestMirror {
            let message = format!("a rule may have only one {:?}", filter.kind);
            found.add(format!("{pointer}/type"), message, "combine them into one");
        }
        let both = |one, other| filter.kind == one && seen.contains(&other);
        if both(RequestRedirect, URLRewrite) || both(URLRewrite, RequestRedirect) {
            let message = "a request is redirected or rewritten, not both";
            found.add(format!("{pointer}/type"), message, "keep one of them");
        }
        let misplaced = match (filter.kind, place) {
            (RequestRedirect, FilterListPlace::Backend) => {
                Some("a redirect must not have a backend")
            }
            (RequestRedirect | URLRewrite, FilterListPlace::Grpc) => {
                Some("a GRPCRoute cannot redirect or rewrite")
            }
            _ => None,
        };
        if let Some(message) = misplaced {
            found.add(format!("{pointer}/type"), message, "put it on a rule of an HTTPRoute");
        }
        seen.push(filter.kind);
        one_filter(found, filter, &pointer);
    }
}

/// Checks that exactly the field named after the type is present.
fn one_filter(found: &mut RuleBreaks, filter: &RouteFilter, pointer: &str) {
    use RouteFilterType as Type;
    let fields = [
        (
            Type::RequestHeaderModifier,
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        (
            Type::ResponseHeaderModifier,
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        (Type::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (Type::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (Type::URLRewrite, "urlRewrite", filter.url_rewrite.is_some()),
    ];
    for (kind, name, there) in fields {
        if kind == filter.kind && !there {
            let message = format!("a filter of this type needs the field `{name}`");
            found.add(pointer.to_owned(), message, "write the field");
        }
        if kind != filter.kind && there {
            let message = format!("a filter of type {:?} has no field `{name}`", filter.kind);
            found.add(format!("{pointer}/{name}"), message, "remove it, or change the type");
        }
    }
    for (name, modifier) in [
        ("requestHeaderModifier", &filter.request_header_modifier),
        ("responseHeaderModifier", &filter.response_header_modifier),
    ] {
        if let Some(modifier) = modifier {
            headers(found, modifier, &format!("{pointer}/{name}"));
        }
    }
    if let Some(redirect) = &filter.request_redirect {
        redirected(found, redirect, &format!("{pointer}/requestRedirect"));
    }
    if let Some(mirror) = &filter.request_mirror {
        mirrored(found, mirror, &format!("{pointer}/requestMirror"));
    }
    if let Some(rewrite) = &filter.url_rewrite {
        let pointer = format!("{pointer}/urlRewrite");
        if rewrite.hostname.is_none() && rewrite.path.is_none() {
            let help = "write `hostname`, `path` or both";
            found.add(pointer.clone(), "this rewrite changes nothing", help);
        }
        hostname(found, rewrite.hostname.as_deref(), &pointer);
        new_path(found, rewrite.path.as_ref(), &format!("{pointer}/path"));
    }
}

/// Whether a name in lower case is a header of the host with a character that is not a letter, a digit or `-`.
fn is_look_alike(name: &str) -> bool {
    let odd = |octet: u8| !octet.is_ascii_alphanumeric() && octet != b'-';
    name.bytes().any(odd) && is_of_the_host(name)
}

fn headers(found: &mut RuleBreaks, modifier: &HeaderModifier, pointer: &str) {
    if modifier.set.is_empty() && modifier.add.is_empty() && modifier.remove.is_empty() {
        let help = "write `set`, `add` or `remove`";
        found.add(pointer.to_owned(), "this filter changes nothing", help);
    }
    let mut seen = BTreeSet::new();
    let mut one = |place: String, name: &str, value: Option<&str>| {
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            let message = format!("`{name}` is not the name of a header");
            found.add(place.clone(), message, "a name must be a token (RFC 9110 §5.1)");
        } else if value.is_some() && is_look_alike(&lower) {
            let message = format!("`{name}` is another spelling of a header that the proxy writes");
            let help = "some servers read it as that one (RFC 3875 §4.1.18): use a name of letters, digits and `-`";
            found.add(place.clone(), message, help);
        } else if FRAMING.contains(&lower.as_str()) {
            let message = format!("`{name}` frames the message or belongs to one connection");
            let help =
                "remove it: only the proxy writes it; to change the host, use urlRewrite.hostname";
            found.add(place.clone(), message, help);
        }
        if value.is_some_and(|value| !is_field_value(value)) {
            let message = format!("the value of `{name}` has a control character");
            let help =
                "a value must not contain CR, LF, NUL or other control characters (RFC 9110 §5.5)";
            found.add(place.clone(), message, help);
        }
        if !seen.insert(lower) {
            let message = format!("this filter already sets, adds or removes `{name}`");
            found.add(place, message, "list each header once");
        }
    };
    for (list, name) in [(&modifier.set, "set"), (&modifier.add, "add")] {
        for (at, header) in list.iter().enumerate() {
            one(format!("{pointer}/{name}/{at}/name"), &header.name, Some(&header.value));
        }
    }
    for (at, name) in modifier.remove.iter().enumerate() {
        one(format!("{pointer}/remove/{at}"), name, None);
    }
}

fn redirected(found: &mut RuleBreaks, redirect: &RequestRedirect, pointer: &str) {
    if !matches!(redirect.scheme.as_deref(), None | Some("http" | "https")) {
        found.add(
            format!("{pointer}/scheme"),
            "the scheme must be http or https",
            "write one of them",
        );
    }
    if !matches!(redirect.status_code, None | Some(301 | 302 | 303 | 307 | 308)) {
        let message = "the status of a redirect must be 301, 302, 303, 307 or 308";
        found.add(format!("{pointer}/statusCode"), message, "write one of them");
    }
    if redirect.port == Some(0) {
        found.add(format!("{pointer}/port"), "a port is at least 1", "remove it, or write one");
    }
    hostname(found, redirect.hostname.as_deref(), pointer);
    new_path(found, redirect.path.as_ref(), &format!("{pointer}/path"));
}

/// A host of a redirect or rewrite: a full name without wildcard and port (Gateway API, `PreciseHostname`).
fn hostname(found: &mut RuleBreaks, hostname: Option<&str>, pointer: &str) {
    let fits = |host: &str| !host.starts_with("*.") && crate::format::accepts("hostname", host);
    if let Some(host) = hostname.filter(|host| !fits(host)) {
        let message = format!("`{host}` is not a hostname");
        found.add(
            format!("{pointer}/hostname"),
            message,
            "write a name without port, like shop.example",
        );
    }
}

fn new_path(found: &mut RuleBreaks, path: Option<&PathModifier>, pointer: &str) {
    let Some(path) = path else { return };
    let both = [
        (PathModifierType::ReplaceFullPath, "replaceFullPath", &path.replace_full_path),
        (PathModifierType::ReplacePrefixMatch, "replacePrefixMatch", &path.replace_prefix_match),
    ];
    for (kind, name, value) in both {
        let place = format!("{pointer}/{name}");
        match value {
            None if kind == path.kind => {
                let message = format!("this type needs the field `{name}`");
                found.add(pointer.to_owned(), message, "write the new path");
            }
            Some(_) if kind != path.kind => {
                let message = format!("a path of type {:?} has no field `{name}`", path.kind);
                found.add(place, message, "remove it, or change the type");
            }
            Some(value) => {
                let slash = kind == PathModifierType::ReplaceFullPath && !value.starts_with('/');
                let dots = value.split('/').any(|part| part == "." || part == "..");
                let broken = slash
                    || dots
                    || !value.bytes().all(|byte| byte.is_ascii_graphic())
                    || value.contains(['#', '?']);
                if broken {
                    let help = "begin with `/`; visible ASCII, no dot segments, no `?` and no `#`";
                    found.add(place, format!("`{value}` is not a path"), help);
                }
            }
            None => {}
        }
    }
}

fn mirrored(found: &mut RuleBreaks, mirror: &RequestMirror, pointer: &str) {
    if mirror.percent.is_some() && mirror.fraction.is_some() {
        let help = "keep one of them";
        found.add(format!("{pointer}/percent"), "percent and fraction are both present", help);
    }
    if let Some(fraction) = &mirror.fraction
        && fraction.numerator > fraction.denominator.unwrap_or(100)
    {
        let help = "make the numerator at most the denominator";
        found.add(format!("{pointer}/fraction"), "a share must not exceed all requests", help);
    }
}

/// Whether `name` is a valid field name (RFC 9110 §5.1).
fn is_token(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(inner)
}

/// Whether `value` is a valid field value (RFC 9110 §5.5).
fn is_field_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}
