//! What an address says about where it leads: to the machine or the link of whoever uses it, to a machine of a private
//! network, or to a service by the address that DNS names it by.
//!
//! What is on a machine or its link may trust the machine itself: an admin listener, other processes, the metadata of a
//! cloud.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds serve the metadata of a machine to that machine, in addition to link-local 169.254.169.254: Alibaba, Azure
/// (its agent of the host, which has the certificates of the machine) and Oracle. None is an address of anybody else.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same over IPv6: Amazon and Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
];
/// IPv4 in IPv6 by translation (RFC 6052 §2.1).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// The first of the addresses by which DNS names services: in the part of IPv4 that is reserved (RFC 1112 §4), where no
/// machine is, so that no address of a machine is hidden, and where a connection that nobody captures leads nowhere.
pub(crate) const VIRTUAL: u32 = 0xf000_0000;
/// The bits that tell them apart: 240.0.0.0/5.
pub(crate) const VIRTUAL_BITS: u32 = 27;

/// Whether an address is one by which DNS names services, also as IPv4 inside IPv6. No document may have one.
#[must_use]
pub(crate) fn is_virtual(address: IpAddr) -> bool {
    matches!(embedded(address), IpAddr::V4(v4) if v4.to_bits() >> VIRTUAL_BITS == VIRTUAL >> VIRTUAL_BITS)
}

/// Whether an address is one of a network without an owner in the world: private (RFC 1918), shared (RFC 6598), or unique
/// local (RFC 4193), also as IPv4 inside IPv6. A public address has an owner, who need not be whoever writes it.
#[must_use]
pub(crate) fn is_private(address: IpAddr) -> bool {
    match embedded(address) {
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Whether a name stands for this machine and is never resolved (RFC 6761 §6.3).
#[must_use]
pub fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether an address is a loopback address, also as IPv4 inside IPv6.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    embedded(address).is_loopback()
}

/// Whether an address leads to the machine or the link of whoever uses it, or to no machine at all.
#[must_use]
pub fn is_own_machine(address: IpAddr) -> bool {
    match embedded(address) {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                // "This network" (RFC 1122 §3.2.1.3): Linux takes 0.0.0.0 for this machine.
                || v4.octets()[0] == 0
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || METADATA_V6.contains(&v6)
        }
    }
}

/// The address that an address leads to: IPv4 inside IPv6 is IPv4.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let [_, _, _, _, _, _, high, low] = segments;
    if segments.starts_with(&NAT64) {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address.to_canonical()
}
