//! The addresses that this machine has in its networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An address that no machine has (RFC 1112 §4; discard-only, RFC 6666).
const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);
const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// Whether an interface of this machine has the address now. Sends nothing.
///
/// The kernel decides: a machine reaches an address of its own from that address, and lets a socket be bound to it. Where
/// any address may be bound (`ip_nonlocal_bind`), the former alone counts.
pub(super) fn has_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let (any, nobody): (IpAddr, IpAddr) = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), NOBODY_V4.into()),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), NOBODY_V6.into()),
    };
    is_reached_from_itself(any, address) || (may_bind(address) && !may_bind(nobody))
}

fn is_reached_from_itself(any: IpAddr, address: IpAddr) -> bool {
    // The port matters to nobody: "connecting" a datagram socket only looks up the way.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

fn may_bind(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address from which this machine reaches others; `None` without a network.
    fn in_a_network(of_others: &str, any: &str) -> Option<IpAddr> {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect((of_others, 9)).ok()?;
        Some(socket.local_addr().unwrap().ip())
    }

    #[test]
    fn an_address_of_an_interface_is_known_and_one_of_others_is_not() {
        for (address, own) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::ffff:127.0.0.1", true),
            ("240.0.0.1", false),
            ("198.51.100.77", false),
            ("::ffff:198.51.100.77", false),
            ("2001:db8::77", false),
            ("100::1", false),
        ] {
            assert_eq!(has_address(address.parse().unwrap()), own, "{address}");
        }
        let v4 = in_a_network("198.51.100.77", "0.0.0.0");
        let v6 = in_a_network("2001:db8::77", "::");
        for address in v4.into_iter().chain(v6) {
            assert!(has_address(address), "{address}");
        }
    }
}
