//! Whether a request names the server by a name that is its own.
//!
//! A page that is open in a browser can have its own name lead to any address of the machine ("DNS rebinding"), and is then
//! of the same origin as what listens there. It sends that name, so a server that knows its names is not fooled.

use std::net::IpAddr;

use http::{Request, Version, header, uri::Authority};

/// Why a request is not for this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It names another.
    #[error("this server is not asked by that name")]
    Other,
    /// It names none, though HTTP/1.1 needs one (RFC 9112 §3.2).
    #[error("the request names no host")]
    Missing,
}

/// Whether every host that the request names is `localhost`, a loopback address, `local` or one of `names`; ports do not
/// matter.
///
/// # Errors
/// [`HostError`]. A request before HTTP/1.1 may name no host: no browser sends such.
pub fn check<B>(request: &Request<B>, local: IpAddr, names: &[String]) -> Result<(), HostError> {
    let mut named = false;
    let hosts = request.headers().get_all(header::HOST).iter();
    let hosts = hosts.map(|host| host.to_str().unwrap_or_default());
    for host in hosts.chain(request.uri().authority().map(Authority::as_str)) {
        named = true;
        if !is_own(host, local, names) {
            return Err(HostError::Other);
        }
    }
    if named || request.version() < Version::HTTP_11 { Ok(()) } else { Err(HostError::Missing) }
}

/// Whether that is a host without scheme, user and port.
#[must_use]
pub fn is_host(host: &str) -> bool {
    without_port(host) == Some(host)
}

fn is_own(host: &str, local: IpAddr, names: &[String]) -> bool {
    let Some(host) = without_port(host) else { return false };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address == local.to_canonical()
        }
        Err(_name) => {
            let same = |one: &str| one.eq_ignore_ascii_case(host);
            same("localhost") || names.iter().any(|one| same(one))
        }
    }
}

/// A host without its port; none when it is no host, such as one with a user before it.
fn without_port(host: &str) -> Option<&str> {
    let authority: Authority = host.parse().ok()?;
    let name = authority.host().len();
    if host.contains('@') {
        return None;
    }
    // Sliced from what was given: the parsed one lives too short.
    match host.get(name..)? {
        "" => {}
        port => {
            port.strip_prefix(':')?.parse::<u16>().ok()?;
        }
    }
    host.get(..name)
}
