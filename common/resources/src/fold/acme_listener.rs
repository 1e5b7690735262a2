//! The rules of a listener whose certificate is ordered.

use crate::kinds::{AcmeChallenge, GatewaySpec, Listener, ListenerProtocol};

/// Longest host: its certificate is kept in a file of its name.
const MAX_HOST: usize = 200;

/// What is wrong with a listener that awaits a certificate.
pub(super) fn wrong_acme(spec: &GatewaySpec, listener: &Listener) -> Option<&'static str> {
    let tls = listener.tls.as_ref()?;
    let way = tls.acme?;
    if tls.certificate.is_some() || tls.key.is_some() {
        return Some("`acme` orders the certificate: remove `certificate` and `key`, or `acme`");
    }
    if spec.acme.is_none() {
        return Some("`acme` needs `spec.acme`, which names the server that gives certificates");
    }
    let Some(host) = &listener.hostname else {
        return Some("`acme` needs a `hostname`: the certificate is for that host");
    };
    if host.starts_with("*.") {
        return Some(
            "`acme` needs one host: no server gives a certificate for a wildcard in this way; write a listener for each host, or files",
        );
    }
    if host.len() > MAX_HOST {
        return Some("`acme` needs a host of at most 200 characters");
    }
    if host.parse::<std::net::IpAddr>().is_ok() || !host.contains('.') {
        return Some("`acme` needs the name of a host in DNS, such as shop.example");
    }
    let answers = |one: &Listener| {
        one.protocol == ListenerProtocol::HTTP
            && one.hostname.as_deref().is_none_or(|pattern| has(pattern, host))
    };
    if way == AcmeChallenge::Http01 && !spec.listeners.iter().any(answers) {
        return Some(
            "http-01 needs a listener of this gateway with protocol HTTP that has the host: the server sends its request there; add one at port 80, or write tls-alpn-01",
        );
    }
    None
}

/// Whether the hosts of a pattern contain a host.
fn has(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(below) => host.len() > below.len() && host.ends_with(below),
        None => pattern == host,
    }
}
