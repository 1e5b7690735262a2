//! Access control of the admin listener.
//!
//! A web page that is open in a browser on the machine can send requests to any address of it. So a request
//! must name the listener by an address of its own (a page whose name was pointed here sends that name) and
//! must not come from a page (`Origin`); a request that changes something or watches traffic must carry a token, which pages
//! do not have, or use the unix socket.

use http::{Request, StatusCode, header};
use std::net::IpAddr;
use tamis_transport::hosts;

/// What the admin listener allows over the network.
#[derive(Clone, Default)]
pub struct AdminAccess {
    /// Names of the listener, in addition to `localhost`, loopback addresses and its own address.
    pub hosts: Vec<String>,
    /// The token that allows changes; `None`: only the unix socket does.
    pub token: Option<String>,
}

impl std::fmt::Debug for AdminAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminAccess").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Fields of requests that a proxy forwarded.
const FORWARDED: [header::HeaderName; 3] =
    [header::VIA, header::FORWARDED, header::HeaderName::from_static("x-forwarded-for")];

/// Where a request came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AdminOrigin {
    /// A unix socket, which only the proxy's user can open.
    Socket,
    /// A network address: that of the local end of the connection.
    Network(IpAddr),
}

impl AdminAccess {
    /// Whether the request is answered at all.
    pub(crate) fn admits<B>(&self, door: &AdminOrigin, request: &Request<B>) -> Result<(), String> {
        if request.headers().contains_key(header::ORIGIN) {
            return Err(
                "requests from web pages are refused: this request has an `Origin`\n".into()
            );
        }
        // Every proxy adds one of these, and this one adds `via` to whatever it forwards: an upstream of its own that has the
        // address of this listener would bring requests of strangers here, with the rights of the proxy's machine.
        if let Some(name) = FORWARDED.iter().find(|name| request.headers().contains_key(*name)) {
            return Err(format!(
                "requests that come through a proxy are refused: this request has `{name}`\n"
            ));
        }
        let AdminOrigin::Network(local) = door else { return Ok(()) };
        hosts::check(request, *local, &self.hosts).map_err(|error| {
            format!(
                "{error}: use {local} or localhost, or start the proxy with `--admin-host NAME`\n"
            )
        })
    }

    /// Whether the request may change something, or watch the traffic of others.
    pub(crate) fn may_change<B>(
        &self,
        door: &AdminOrigin,
        request: &Request<B>,
    ) -> Result<(), (StatusCode, String)> {
        if *door == AdminOrigin::Socket {
            return Ok(());
        }
        let Some(token) = &self.token else {
            let why = "changes and taps over the network are refused: use `tamis proxy drain NODE` or `tap NODE` on the \
                       machine, or start the proxy with `--admin-token-file FILE`\n";
            return Err((StatusCode::FORBIDDEN, why.to_owned()));
        };
        let mut shown = request.headers().get_all(header::AUTHORIZATION).iter();
        let bearer = match (shown.next(), shown.next()) {
            (Some(one), None) => bearer(one.as_bytes()),
            _ => None,
        };
        if bearer.is_some_and(|bearer| same(bearer, token.as_bytes())) {
            return Ok(());
        }
        let why = "this changes what the proxy does or shows its traffic: send the token of `--admin-token-file` as \
                   `Authorization: Bearer TOKEN`\n";
        Err((StatusCode::UNAUTHORIZED, why.to_owned()))
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that does not depend on where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other));
    one.len() == other.len() && !one.is_empty() && differs == 0
}
