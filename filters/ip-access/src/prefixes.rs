//! Prefixes of addresses, found by the longest match.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Whether addresses may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// Prefixes of both families. An IPv6 address that stands for one of IPv4 (`::ffff:0:0/96`, RFC 4291
/// §2.5.5.2) is that of IPv4 here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    v4: Family,
    v6: Family,
}

/// The prefixes of one family by their length, longest first; a lookup is a binary search for each length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    lengths: Vec<(u8, Vec<(u128, Access)>)>,
}

impl Prefixes {
    /// Adds a prefix. Returns what was said about the same prefix before, and keeps that.
    pub fn add(&mut self, prefix: IpNet, access: Access) -> Option<Access> {
        match normal(prefix) {
            IpNet::V4(v4) => self.v4.add(v4.prefix_len(), bits_4(v4.network()), access),
            IpNet::V6(v6) => self.v6.add(v6.prefix_len(), bits_6(v6.network()), access),
        }
    }

    /// What the longest prefix that contains an address says; `None` if none does.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<Access> {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.find(bits_4(v4)),
            IpAddr::V6(v6) => self.v6.find(bits_6(v6)),
        }
    }
}

/// The prefix of IPv4 that a mapped one stands for.
fn normal(prefix: IpNet) -> IpNet {
    let IpNet::V6(v6) = prefix else { return prefix };
    let (Some(v4), Some(length)) = (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
    else {
        return prefix;
    };
    Ipv4Net::new(v4, length).map_or(prefix, IpNet::V4)
}

/// The 32 bits at the top, so that both families compare alike.
fn bits_4(address: Ipv4Addr) -> u128 {
    u128::from(u32::from(address)) << 96
}

fn bits_6(address: Ipv6Addr) -> u128 {
    u128::from(address)
}

/// The first `length` bits.
fn cut(bits: u128, length: u8) -> u128 {
    let dropped = 128_u32.saturating_sub(u32::from(length));
    bits.checked_shr(dropped).and_then(|kept| kept.checked_shl(dropped)).unwrap_or(0)
}

impl Family {
    fn add(&mut self, length: u8, bits: u128, access: Access) -> Option<Access> {
        let at = self.lengths.partition_point(|(other, _)| *other > length);
        if self.lengths.get(at).is_none_or(|(other, _)| *other != length) {
            self.lengths.insert(at, (length, Vec::new()));
        }
        let (_, prefixes) = self.lengths.get_mut(at)?;
        let bits = cut(bits, length);
        match prefixes.binary_search_by_key(&bits, |(prefix, _)| *prefix) {
            Ok(found) => prefixes.get(found).map(|(_, said)| *said),
            Err(place) => {
                prefixes.insert(place, (bits, access));
                None
            }
        }
    }

    fn find(&self, bits: u128) -> Option<Access> {
        self.lengths.iter().find_map(|(length, prefixes)| {
            let wanted = cut(bits, *length);
            let at = prefixes.binary_search_by_key(&wanted, |(prefix, _)| *prefix).ok()?;
            prefixes.get(at).map(|(_, access)| *access)
        })
    }
}

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Neither an address nor a prefix.
    Form,
    /// Bits are set after the prefix; the prefix that is meant.
    Host(IpNet),
}

impl std::fmt::Display for PrefixError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form => f.write_str("write an address or a prefix, such as 192.0.2.0/24 or 2001:db8::/32; no name and no port"),
            Self::Host(meant) => write!(f, "bits are set after the prefix: write {meant}, or the address alone"),
        }
    }
}

impl std::error::Error for PrefixError {}

/// Parses an address or a prefix whose other bits are zero.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse(text: &str) -> Result<IpNet, PrefixError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let prefix: IpNet = text.parse().map_err(|_| PrefixError::Form)?;
    if prefix.addr() != prefix.network() {
        return Err(PrefixError::Host(prefix.trunc()));
    }
    Ok(prefix)
}

/// The IPv6 prefix that contains every address that stands for one of IPv4.
#[must_use]
pub fn spans_mapped(prefix: &IpNet) -> bool {
    let mapped = Ipv6Net::new(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    match (prefix, mapped) {
        (IpNet::V6(v6), Ok(mapped)) => {
            v6.prefix_len() < 96 && v6.prefix_len() > 0 && v6.contains(&mapped)
        }
        _ => false,
    }
}
