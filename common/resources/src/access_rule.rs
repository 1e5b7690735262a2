//! What a schema cannot express about the rules of an `AuthorizationPolicy`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::format;
use crate::kinds::{AccessRule, AuthorizationPolicySpec, PathPatternType, ValueCondition};

/// Most rules of a list, and most entries of a condition.
const MAX_ENTRIES: usize = 256;
/// Longest text of a condition, in bytes.
const MAX_TEXT: usize = 1024;

/// A fault of a policy.
pub(crate) struct RuleFault {
    pub(crate) code: &'static str,
    pub(crate) pointer: String,
    pub(crate) message: String,
    /// Pointer to what it contradicts.
    pub(crate) other: Option<String>,
}

/// The faults of a policy, in the order of its fields.
pub(crate) fn faults(spec: &AuthorizationPolicySpec) -> Vec<RuleFault> {
    let mut faults = Faults::default();
    for (list, rules) in [("allow", &spec.allow), ("deny", &spec.deny)] {
        let pointer = format!("/spec/{list}");
        faults.count(&pointer, rules.len());
        faults.names(&pointer, rules);
        for (at, rule) in rules.iter().enumerate() {
            faults.rule(&format!("{pointer}/{at}"), rule);
        }
    }
    faults.contradictions(spec);
    if let Some(cedar) = &spec.cedar {
        if cedar.policies.is_some() == cedar.file.is_some() {
            faults.add("/spec/cedar", "write one of `policies` and `file`");
        }
        faults.list("/spec/cedar/headers", &cedar.headers, header);
    }
    faults.0
}

#[derive(Default)]
struct Faults(Vec<RuleFault>);

impl Faults {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        let (pointer, message) = (pointer.into(), message.into());
        self.0.push(RuleFault { code: "authorization.rule", pointer, message, other: None });
    }

    fn count(&mut self, pointer: &str, count: usize) {
        if count > MAX_ENTRIES {
            self.add(
                pointer,
                format!("a list has at most {MAX_ENTRIES} entries, this one {count}"),
            );
        }
    }

    fn list(&mut self, pointer: &str, texts: &[String], check: fn(&str) -> Result<(), String>) {
        self.count(pointer, texts.len());
        for (at, text) in texts.iter().enumerate() {
            let long = || format!("at most {MAX_TEXT} bytes");
            let checked = if text.len() > MAX_TEXT { Err(long()) } else { check(text) };
            if let Err(rule) = checked {
                let shown: String = text.chars().take(80).collect();
                self.add(format!("{pointer}/{at}"), format!("`{shown}`: {rule}"));
            }
        }
    }

    fn rule(&mut self, pointer: &str, rule: &AccessRule) {
        self.list(&format!("{pointer}/identities"), &rule.identities, identity);
        self.list(&format!("{pointer}/addresses"), &rule.addresses, address);
        self.list(&format!("{pointer}/methods"), &rule.methods, method);
        self.count(&format!("{pointer}/paths"), rule.paths.len());
        for (at, pattern) in rule.paths.iter().enumerate() {
            if let Err(rule) = path(pattern.kind, &pattern.value) {
                let shown: String = pattern.value.chars().take(80).collect();
                self.add(format!("{pointer}/paths/{at}/value"), format!("`{shown}`: {rule}"));
            }
        }
        self.count(&format!("{pointer}/ports"), rule.ports.len());
        self.values(&format!("{pointer}/headers"), &rule.headers, header);
        self.values(&format!("{pointer}/claims"), &rule.claims, |_| Ok(()));
    }

    fn values(
        &mut self,
        pointer: &str,
        conditions: &[ValueCondition],
        name: fn(&str) -> Result<(), String>,
    ) {
        self.count(pointer, conditions.len());
        for (at, one) in conditions.iter().enumerate() {
            if let Err(rule) = name(&one.name) {
                self.add(format!("{pointer}/{at}/name"), format!("`{}`: {rule}", one.name));
            }
            self.list(&format!("{pointer}/{at}/values"), &one.values, value);
        }
    }

    fn names(&mut self, pointer: &str, rules: &[AccessRule]) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, name) in
            rules.iter().enumerate().filter_map(|(at, it)| Some((at, it.name.as_deref()?)))
        {
            if let Some(first) = seen.insert(name, at) {
                self.0.push(RuleFault {
                    code: "authorization.conflict",
                    pointer: format!("{pointer}/{at}/name"),
                    message: format!("two rules have the name `{name}`"),
                    other: Some(format!("{pointer}/{first}/name")),
                });
            }
        }
    }

    /// The same conditions under `allow` and `deny`: one of the two is a mistake.
    fn contradictions(&mut self, spec: &AuthorizationPolicySpec) {
        for (at, allowed) in spec.allow.iter().enumerate() {
            let same = |denied: &AccessRule| {
                AccessRule { name: None, ..denied.clone() }
                    == AccessRule { name: None, ..allowed.clone() }
            };
            if let Some(other) = spec.deny.iter().position(same) {
                self.0.push(RuleFault {
                    code: "authorization.conflict",
                    pointer: format!("/spec/allow/{at}"),
                    message: "a rule under `deny` has the same conditions, so this one never has an effect".to_owned(),
                    other: Some(format!("/spec/deny/{other}")),
                });
            }
        }
    }
}

fn identity(text: &str) -> Result<(), String> {
    let whole = text.strip_suffix("/*").unwrap_or(text);
    let known = text == "*" || (!whole.contains('*') && format::accepts("spiffe-id", whole));
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let rule = "write a SPIFFE id, such as spiffe://shop.example/ns/shop/service/a, `PREFIX/*` for all ids below it, or `*` for every client with an id";
    if known && visible { Ok(()) } else { Err(rule.to_owned()) }
}

fn address(text: &str) -> Result<(), String> {
    if text == "unix" { Ok(()) } else { prefix(text).map_err(|rule| format!("{rule}, or `unix`")) }
}

/// Checks an IP address or a prefix.
pub(crate) fn prefix(text: &str) -> Result<(), String> {
    let rule = "write an address, or a prefix such as 10.0.0.0/8 whose other bits are zero";
    let (ip, length) = match text.split_once('/') {
        None => (text, None),
        Some((ip, length)) => (ip, Some(length)),
    };
    let ip: IpAddr = ip.parse().map_err(|_| rule.to_owned())?;
    let (bits, most) = match ip {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        // Addresses of connections are never in this form, so nothing would match.
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            return Err("write the address of IPv4 that it stands for".to_owned());
        }
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let Some(length) = length else { return Ok(()) };
    let digits = length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
    let length: u32 = if digits { length.parse().unwrap_or(u32::MAX) } else { u32::MAX };
    let rest = bits.checked_shl(length).unwrap_or(0);
    if length <= most && rest == 0 { Ok(()) } else { Err(rule.to_owned()) }
}

fn method(text: &str) -> Result<(), String> {
    let token =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if token { Ok(()) } else { Err("write a method in capitals, such as GET".to_owned()) }
}

fn header(text: &str) -> Result<(), String> {
    let known = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    let name = !text.is_empty() && text != "*" && text.bytes().all(known);
    if !name {
        return Err("write the name of a header in lower case".to_owned());
    }
    if text == "host" {
        return Err("no filter sees this header; a listener or a route decides which hosts are served: name it in `targetRefs`".to_owned());
    }
    if UNSEEN.contains(&text) {
        return Err("no filter sees this header, since it is about one connection: such a rule would never hold".to_owned());
    }
    Ok(())
}

/// Headers that the host takes from a request before any filter sees it, or that not every version of HTTP has.
const UNSEEN: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

fn value(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        Err("a value has no control characters".to_owned())
    } else {
        Ok(())
    }
}

/// Whether a path is in the normal form that requests are compared in, so that it can match one.
fn path(kind: PathPatternType, text: &str) -> Result<(), String> {
    let fail = |rule: &str| Err(rule.to_owned());
    if text.len() > MAX_TEXT {
        return Err(format!("at most {MAX_TEXT} bytes"));
    }
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return fail("a path begins with `/` and is visible ASCII");
    }
    if text.contains(['?', '#']) {
        return fail("a path has no query and no fragment");
    }
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return fail("the normal form of a path has no empty segments");
        }
        if segment == "." || segment == ".." {
            return fail("the normal form of a path has no `.` and no `..`");
        }
        let open = segment.contains(['{', '}']);
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let variable = name.is_some_and(|it| !it.is_empty() && !it.contains(['{', '}']));
        if kind == PathPatternType::Template && open && !variable {
            return fail("`{name}` stands for one whole segment");
        }
        if kind != PathPatternType::Template && open {
            return fail("`{name}` needs `type: Template`");
        }
        if !kept_escapes(segment) {
            return fail(
                "the normal form of a path has escapes in capitals, and none of a character that a segment may contain: write the character",
            );
        }
    }
    Ok(())
}

/// Whether the normal form keeps the escapes of a segment (RFC 3986 §3.3, `pchar`).
fn kept_escapes(segment: &str) -> bool {
    segment.split('%').skip(1).all(|rest| {
        let Some(digits) = rest.get(..2) else { return false };
        let capital = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        let Ok(octet) = u8::from_str_radix(digits, 16) else { return false };
        let pchar = octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&octet);
        digits.bytes().all(capital) && !pchar
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(check: impl Fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(check(text), "{text} is refused");
        }
        for text in bad {
            assert!(!check(text), "{text} is accepted");
        }
    }

    #[test]
    fn conditions_that_can_never_match_are_refused() {
        table(
            |text| identity(text).is_ok(),
            &["*", "spiffe://a.b/c", "spiffe://a.b/*", "spiffe://a.b/c/*"],
            &[
                "",
                "a",
                "spiffe://",
                "spiffe://a.b/c*",
                "spiffe://*/c",
                "spiffe://a.b/*/c",
                "spiffe://a.b/c/",
                "**",
            ],
        );
        table(
            |text| address(text).is_ok(),
            &[
                "unix",
                "10.0.0.1",
                "10.0.0.0/8",
                "0.0.0.0/0",
                "::/0",
                "2001:db8::/32",
                "::1",
                "::1/128",
            ],
            &[
                "",
                "10.0.0.1/8",
                "10.0.0.0/33",
                "10.0.0.0/",
                "10.0.0.0/+8",
                "localhost",
                "::ffff:10.0.0.1",
                "1/2/3",
            ],
        );
        table(|text| method(text).is_ok(), &["GET", "M-SEARCH"], &["", "get", "GET ", "*"]);
        table(|text| header(text).is_ok(), &["x-user"], &["", "X-User", "a b", ":path", "@a", "*"]);
    }

    #[test]
    fn a_path_that_no_normal_form_equals_is_refused() {
        let exact = |text: &str| path(PathPatternType::PathPrefix, text).is_ok();
        table(
            exact,
            &["/", "/a", "/a/", "/a/b.c", "/@me", "/a%2Fb", "/%20"],
            &[
                "", "a", "/a//b", "/a/../b", "/./a", "/a?b", "/a#b", "/a b", "/%40me", "/%2f",
                "/%", "/%zz", "/{a}", "/ä",
            ],
        );
        let template = |text: &str| path(PathPatternType::Template, text).is_ok();
        table(
            template,
            &["/users/{id}", "/{a}/{b}/c"],
            &["/users/{}", "/users/x{id}", "/users/{id", "/{{a}}"],
        );
    }
}
