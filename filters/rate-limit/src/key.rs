//! What a bucket is for: the values of some fields of a request, as one text.

use std::net::{IpAddr, Ipv6Addr};

use tamis_sdk::View;

use crate::limit::{Limit, MissingFieldRule};

/// The address of the peer.
pub const ADDRESS: &str = "@source.address";

/// The key of a request's bucket; `None`: the limit does not apply, because a field is absent.
///
/// Each value is preceded by its length, so that no two requests with different values share a key.
#[must_use]
pub fn of(limit: &Limit, seen: View<'_>) -> Option<String> {
    let mut key = String::new();
    for name in &limit.fields {
        match seen.header(name) {
            Some(value) => {
                let value = String::from_utf8_lossy(value);
                let value = match name.as_str() {
                    ADDRESS => network(&value, limit.ipv6_prefix_length),
                    ":path" => value.split('?').next().unwrap_or_default().to_owned(),
                    ":authority" => value.to_ascii_lowercase(),
                    _ => value.into_owned(),
                };
                key.push_str(&format!("{}:{value}", value.len()));
            }
            None if limit.absent == MissingFieldRule::Skip => return None,
            None => key.push('-'),
        }
    }
    Some(key)
}

/// The address as a bucket counts it: one of IPv4, or the network of one of IPv6. A client has 2^64 addresses
/// of a network or more.
fn network(text: &str, length: u8) -> String {
    let Ok(address) = text.parse::<IpAddr>() else { return text.to_owned() };
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let dropped = 128_u32.saturating_sub(u32::from(length));
            let kept =
                u128::from(v6).checked_shr(dropped).and_then(|bits| bits.checked_shl(dropped));
            Ipv6Addr::from(kept.unwrap_or(0)).to_string()
        }
    }
}
