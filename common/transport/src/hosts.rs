//! Whether a request names the server by one of its own names.
//!
//! A web page can make its own name resolve to any address of the user's machine ("DNS rebinding"), and is
//! then of the same origin as the server there. Its requests carry that name, so a server that checks names
//! is safe.

use std::net::IpAddr;

use http::{Request, Version, header, uri::Authority};

/// Why a request is not for this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It names another host.
    #[error("this server does not have that name")]
    Other,
    /// It names no host, although HTTP/1.1 requires one (RFC 9112 §3.2).
    #[error("the request names no host")]
    Missing,
}

/// Checks that every host in the request is `localhost`, a loopback address, `local` or one of `names`;
/// ports are ignored.
///
/// # Errors
/// [`HostError`]. A request before HTTP/1.1 may name no host: browsers do not send such requests.
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

/// Whether the text is a host without scheme, user and port.
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

/// A host without its port; `None` when it is not a host, for example with a user before it.
fn without_port(host: &str) -> Option<&str> {
    let authority: Authority = host.parse().ok()?;
    let name = authority.host().len();
    if host.contains('@') {
        return None;
    }
    // Sliced from the input: the parsed host does not live long enough.
    match host.get(name..)? {
        "" => {}
        port => {
            port.strip_prefix(':')?.parse::<u16>().ok()?;
        }
    }
    host.get(..name)
}
