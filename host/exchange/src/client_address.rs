//! The client's address behind proxies: which entries of `X-Forwarded-For` or `Forwarded` count.
//!
//! Every proxy adds the address of its peer at the end of the field, so an entry is as credible as the
//! proxies that wrote what stands to its right. The field is read from the right, and reading stops at the
//! client: what a client wrote itself stands to the left of that and never counts, however it is written.

use std::net::{IpAddr, Ipv6Addr};

use crate::prefixes::{AddressPrefixes, InvalidPrefix};
use http::header::{self, HeaderMap, HeaderName};

/// Most entries of a chain that are read. With a longer one the peer counts as the client.
pub const MAX_CHAIN: usize = 64;
/// Longest entry, in bytes.
const MAX_ENTRY: usize = 512;

/// The field that states the addresses of a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedField {
    /// `X-Forwarded-For`: a list of addresses.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Proxies whose statement of the client's address counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    field: ForwardedField,
    /// `None`: every peer.
    addresses: Option<AddressPrefixes>,
    /// Number of proxies; `None`: all that `addresses` contain.
    hops: Option<u8>,
}

/// The way of a request from its client to the peer, without the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientChain {
    client: IpAddr,
    /// From the client on; never empty.
    entries: Vec<ChainEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ChainEntry {
    node: ChainNode,
    /// The whole element of `Forwarded`.
    element: Option<String>,
}

/// One hop of a chain (RFC 7239 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainNode {
    /// Its address, without port; an IPv6 address that stands for one of IPv4 is that of IPv4.
    Address(IpAddr),
    /// The proxy that wrote the entry does not know the address.
    Unknown,
    /// A name in place of the address, with its underscore.
    Obfuscated(String),
}

impl TrustedProxies {
    /// Proxies at those addresses or prefixes (`None`: any address), and their number (`None`: all that
    /// have such an address).
    ///
    /// # Errors
    /// The first text that is no address and no prefix.
    pub fn new(
        field: ForwardedField,
        trusted: Option<&[String]>,
        hops: Option<u8>,
    ) -> Result<Self, InvalidPrefix> {
        let trusted = trusted.map(AddressPrefixes::new).transpose()?;
        // Without addresses and without a number, nobody is trusted.
        let addresses = trusted.or_else(|| hops.is_none().then(AddressPrefixes::default));
        Ok(Self { field, addresses, hops })
    }

    /// The way of a request that came from `peer`. `None` when the peer is the client: it is not trusted,
    /// or its field is absent, too long or malformed, or names no address for the client.
    #[must_use]
    pub fn chain(&self, headers: &HeaderMap, peer: IpAddr) -> Option<ClientChain> {
        if !self.trusts(peer) {
            return None;
        }
        let mut entries = Vec::new();
        for text in self.field.entries(headers) {
            if entries.len() == MAX_CHAIN {
                return None;
            }
            let entry = self.field.entry(text)?;
            let trusted = matches!(entry.node, ChainNode::Address(address) if self.trusts(address));
            entries.push(entry);
            match self.hops {
                Some(hops) if entries.len() == usize::from(hops) => return chain(entries),
                None if !trusted => return chain(entries),
                Some(_) | None => {}
            }
        }
        match self.hops {
            // The request took a shorter way than the documented one.
            Some(_) => None,
            // The client itself has the address of a proxy.
            None => chain(entries),
        }
    }

    /// Whether an address is named as one of theirs: a connection from there carries the requests of many clients. With a
    /// number of hops alone nobody is.
    #[must_use]
    pub fn names(&self, peer: IpAddr) -> bool {
        self.addresses.as_ref().is_some_and(|addresses| addresses.contains(peer))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.addresses.as_ref().is_none_or(|addresses| addresses.contains(address))
    }
}

/// The chain of entries in the order in which they were read: the client is the last one.
fn chain(mut entries: Vec<ChainEntry>) -> Option<ClientChain> {
    let ChainNode::Address(client) = entries.last()?.node else { return None };
    entries.reverse();
    Some(ClientChain { client, entries })
}

impl ClientChain {
    /// The client's address.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Its entries as `X-Forwarded-For`, the client first.
    #[must_use]
    pub fn x_forwarded_for(&self) -> String {
        let nodes = self.entries.iter().map(|entry| match &entry.node {
            ChainNode::Address(address) => address.to_string(),
            ChainNode::Unknown => "unknown".to_owned(),
            ChainNode::Obfuscated(name) => name.clone(),
        });
        nodes.collect::<Vec<_>>().join(", ")
    }

    /// Its entries as `Forwarded`, the client first: elements as received, where there are any.
    #[must_use]
    pub fn forwarded(&self) -> String {
        let elements = self.entries.iter().map(|entry| match (&entry.element, &entry.node) {
            (Some(element), _) => element.clone(),
            (None, ChainNode::Address(IpAddr::V6(address))) => format!("for=\"[{address}]\""),
            (None, ChainNode::Address(IpAddr::V4(address))) => format!("for={address}"),
            (None, ChainNode::Unknown) => "for=unknown".to_owned(),
            (None, ChainNode::Obfuscated(name)) => format!("for={name}"),
        });
        elements.collect::<Vec<_>>().join(", ")
    }
}

impl ForwardedField {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        }
    }

    /// The entries of all lines, from the right. Commas always separate: no entry that counts has one in
    /// quotes, and a quote of the client must not hide what a proxy added after it.
    fn entries(self, headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
        let lines = headers.get_all(self.name()).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|octet| *octet == b','));
        entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
    }

    fn entry(self, text: &[u8]) -> Option<ChainEntry> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_ENTRY)?;
        match self {
            Self::XForwardedFor => Some(ChainEntry { node: node(text)?, element: None }),
            Self::Forwarded => Some(ChainEntry {
                node: element(text)?.unwrap_or(ChainNode::Unknown),
                element: Some(text.to_owned()),
            }),
        }
    }
}

/// The node of `for` in one element (RFC 7239 §4); `Some(None)`: the element has none. `None`: malformed.
fn element(text: &str) -> Option<Option<ChainNode>> {
    let mut found = None;
    for pair in text.split(';').map(str::trim_ascii).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let value = match value.strip_prefix('"') {
            Some(quoted) => {
                quoted.strip_suffix('"').filter(|value| !value.contains(['"', '\\']))?
            }
            // Addresses with a port or in brackets need quotes; many proxies write none.
            None => Some(value).filter(|value| {
                let known = |octet: u8| is_token(octet) || matches!(octet, b':' | b'[' | b']');
                !value.is_empty() && value.bytes().all(known)
            })?,
        };
        if name.eq_ignore_ascii_case("for") && found.replace(node(value)?).is_some() {
            return None;
        }
    }
    Some(found)
}

/// A node: an address, `unknown` or `_name`, each with or without a port (RFC 7239 §6). An IPv6 address
/// without a port may stand without brackets.
fn node(text: &str) -> Option<ChainNode> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(ChainNode::Address(address.to_canonical()));
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
        return None;
    }
    if text.starts_with('[') {
        let address: Ipv6Addr = name.parse().ok()?;
        return Some(ChainNode::Address(IpAddr::V6(address).to_canonical()));
    }
    match name {
        _ if name.eq_ignore_ascii_case("unknown") => Some(ChainNode::Unknown),
        _ if is_obfuscated(name) => Some(ChainNode::Obfuscated(name.to_owned())),
        _ => name.parse().ok().map(|address| ChainNode::Address(IpAddr::V4(address))),
    }
}

fn is_port(text: &str) -> bool {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    digits || is_obfuscated(text)
}

fn is_obfuscated(text: &str) -> bool {
    let known = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
    let name = text.strip_prefix('_');
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(known))
}

/// Whether an octet may be part of a token (RFC 9110 §5.6.2).
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

#[cfg(test)]
mod tests;
