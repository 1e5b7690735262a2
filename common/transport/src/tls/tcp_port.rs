//! How a proxy asks another for an opaque TCP port: by the name of a protocol in the handshake (ALPN, RFC 7301).
//!
//! The name is `tamis-tcp/1:PORT`, with the version of these rules and the number of the service's port. The server
//! chooses what it serves by that name alone, before anything is decrypted, and TLS makes both sides agree on it: a
//! connection is opaque for both, and to the same port, or there is none.

use std::fmt;

/// The protocol of the handshakes in which an ACME server looks for its certificate (RFC 8737 §3).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";
/// What the names of all versions begin with.
const FAMILY: &[u8] = b"tamis-tcp/";
/// What the names of this version begin with.
const PREFIX: &str = "tamis-tcp/1:";

/// A `tcp` port of a service, by its number; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpPort(u16);

impl TcpPort {
    /// The port with that number; `None` for 0.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// The name that asks for it.
    #[must_use]
    pub fn protocol(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The port of a name; `None` for every other form of it, such as one with leading zeros.
    fn read(name: &[u8]) -> Option<Self> {
        let number = name.strip_prefix(PREFIX.as_bytes())?;
        let number: u16 = std::str::from_utf8(number).ok()?.parse().ok()?;
        Self::new(number).filter(|port| port.protocol() == name)
    }
}

/// The name that asks for it.
impl fmt::Display for TcpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// What a client asks for in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedProtocol {
    /// HTTP, in any version, also by saying nothing.
    Http,
    /// The certificate of a challenge, and nothing else: an ACME server looks whether a host is ours (RFC 8737).
    AcmeChallenge,
    /// An opaque port, and nothing else.
    Tcp(TcpPort),
    /// An opaque port in a form that has no clear meaning: another version, no number, or beside something else. It gets
    /// nothing.
    Unclear,
}

impl AskedProtocol {
    /// What the names that a client offers mean.
    pub fn of<'a>(offered: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut all, mut opaque, mut port) = (0_usize, false, None);
        let mut challenge = false;
        for name in offered {
            all = all.saturating_add(1);
            challenge |= name == ACME_TLS;
            if name.starts_with(FAMILY) {
                opaque = true;
                port = TcpPort::read(name);
            }
        }
        match (opaque, port, all) {
            (false, _, 1) if challenge => Self::AcmeChallenge,
            (false, _, _) => Self::Http,
            (true, Some(port), 1) => Self::Tcp(port),
            (true, _, _) => Self::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn port(number: u16) -> TcpPort {
        TcpPort::new(number).unwrap()
    }

    #[test]
    fn a_port_is_asked_for_by_one_name_alone_and_everything_near_it_gets_nothing() {
        use AskedProtocol::{AcmeChallenge, Http, Tcp, Unclear};
        for (offered, meant) in [
            (&["tamis-tcp/1:5432"][..], Tcp(port(5432))),
            (&["tamis-tcp/1:1"], Tcp(port(1))),
            (&["tamis-tcp/1:65535"], Tcp(port(65535))),
            (&[], Http),
            (&["h2"], Http),
            (&["h2", "http/1.1"], Http),
            (&["acme-tls/1"], AcmeChallenge),
            (&["acme-tls/1", "h2"], Http),
            (&["acme-tls/1", "acme-tls/1"], Http),
            (&["acme-tls/1", "tamis-tcp/1:5432"], Unclear),
            (&["acme-tls/2"], Http),
            (&["tamis-tcp"], Http),
            (&["TAMIS-TCP/1:80"], Http),
            (&[" tamis-tcp/1:80"], Http),
            (&["h2", "tamis-tcp/1:5432"], Unclear),
            (&["tamis-tcp/1:5432", "h2"], Unclear),
            (&["tamis-tcp/1:5432", "tamis-tcp/1:5432"], Unclear),
            (&["tamis-tcp/1:5432", "tamis-tcp/1:80"], Unclear),
            (&["tamis-tcp/1:0"], Unclear),
            (&["tamis-tcp/1:00080"], Unclear),
            (&["tamis-tcp/1:+80"], Unclear),
            (&["tamis-tcp/1:-1"], Unclear),
            (&["tamis-tcp/1:65536"], Unclear),
            (&["tamis-tcp/1:99999999999999999999"], Unclear),
            (&["tamis-tcp/1:"], Unclear),
            (&["tamis-tcp/1:80 "], Unclear),
            (&["tamis-tcp/1:80\0"], Unclear),
            (&["tamis-tcp/1:８０"], Unclear),
            (&["tamis-tcp/1"], Unclear),
            (&["tamis-tcp/2:80"], Unclear),
            (&["tamis-tcp/01:80"], Unclear),
            (&["tamis-tcp/"], Unclear),
        ] {
            let found = AskedProtocol::of(offered.iter().map(|name| name.as_bytes()));
            assert_eq!(found, meant, "{offered:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_names_are_offered_only_the_exact_one_asks_for_a_port(
            offered in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..20),
                    "tamis-tcp/[0-9]{1,2}:?[0-9+-]{0,6}".prop_map(String::into_bytes),
                    any::<u16>().prop_map(|number| format!("tamis-tcp/1:{number}").into_bytes()),
                    Just(b"h2".to_vec()),
                ],
                0..4,
            )
        ) {
            if let AskedProtocol::Tcp(port) = AskedProtocol::of(offered.iter().map(Vec::as_slice)) {
                prop_assert_eq!(vec![port.protocol()], offered);
            }
        }
    }
}
