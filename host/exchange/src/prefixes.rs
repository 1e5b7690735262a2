//! A set of IP addresses, written as addresses and prefixes.

use std::net::IpAddr;

use ipnet::IpNet;

/// IP addresses and prefixes; the empty set contains none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPrefixes(Vec<IpNet>);

/// A text is neither an IP address nor a prefix of addresses.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IP address or prefix")]
pub struct InvalidPrefix(pub String);

impl AddressPrefixes {
    /// Reads addresses such as `10.0.0.7` and prefixes such as `2001:db8::/64`.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn new(texts: &[String]) -> Result<Self, InvalidPrefix> {
        let prefix = |text: &String| -> Result<IpNet, InvalidPrefix> {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| text.parse()).map_err(|_| InvalidPrefix(text.clone()))
        };
        texts.iter().map(prefix).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is one of them. An IPv6 address that stands for one of IPv4 is that of IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|prefix| prefix.contains(&address))
    }
}
