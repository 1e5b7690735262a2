//! The name of a proxy.

use std::fmt;
use std::str::FromStr;

use crate::format;

/// The longest name of a proxy, in bytes: two names of at most 253 and the number of an endpoint.
const MAX_BYTES: usize = "sidecar:".len() + 2 * 253 + "//".len() + 20;

/// Names one proxy. Only what it displays is a key: a sidecar without a number is read as the one with 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeName {
    /// `gateway:NAMESPACE/NAME`: a `Gateway`.
    Gateway {
        /// `namespace/name` of the gateway.
        key: String,
    },
    /// `sidecar:NAMESPACE/SERVICE` or `sidecar:NAMESPACE/SERVICE/INDEX`: the sidecar of an endpoint of a
    /// `Service`.
    Sidecar {
        /// `namespace/name` of the service.
        key: String,
        /// Which of its endpoints, from 0.
        index: usize,
    },
}

/// A text that is not the name of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a proxy; write gateway:namespace/name or sidecar:namespace/service[/index], the index without a \
     sign or leading zeros"
)]
pub struct NodeNameError(String);

impl NodeName {
    /// `namespace/name` of the gateway or service, by which pins are found.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Gateway { key } | Self::Sidecar { key, .. } => key,
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { key } => write!(f, "gateway:{key}"),
            Self::Sidecar { key, index } => write!(f, "sidecar:{key}/{index}"),
        }
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let bad = || NodeNameError(text.chars().take(300).collect());
        if text.len() > MAX_BYTES {
            return Err(bad());
        }
        let keyed = |key: &str| format::accepts("filter-name", key).then(|| key.to_owned());
        if let Some(key) = text.strip_prefix("gateway:") {
            return Ok(Self::Gateway { key: keyed(key).ok_or_else(bad)? });
        }
        let rest = text.strip_prefix("sidecar:").ok_or_else(bad)?;
        let (key, index) = match rest.rsplit_once('/') {
            Some((key, index)) if key.contains('/') => (key, number(index).ok_or_else(bad)?),
            _ => (rest, 0),
        };
        Ok(Self::Sidecar { key: keyed(key).ok_or_else(bad)?, index })
    }
}

/// Decimal digits, without a sign or a leading zero: each proxy has one number.
fn number(text: &str) -> Option<usize> {
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_sidecar_is_zero_unless_said() {
        let read = |text: &str| text.parse::<NodeName>().map(|name| name.to_string());
        assert_eq!(read("sidecar:shop/a").unwrap(), "sidecar:shop/a/0");
        assert_eq!(read("sidecar:shop/a/2").unwrap(), "sidecar:shop/a/2");
        assert_eq!(read("gateway:shop/edge").unwrap(), "gateway:shop/edge");
        for bad in ["gateway:edge", "gateway:a/b/c", "sidecar:a/b/c", "shop/a", "sidecar:"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proxy_has_no_second_name_and_no_name_without_end() {
        let (zeros, label) = ("0".repeat(30_000), "n".repeat(253));
        let longest = format!("sidecar:{label}/{label}/{}", usize::MAX);
        let too_long = format!("sidecar:{label}/{label}n/0");
        for (text, is_name) in [
            ("sidecar:shop/a/0", true),
            ("sidecar:shop/a/10", true),
            ("gateway:shop/a", true),
            (&longest, true),
            ("sidecar:shop/a/00", false),
            ("sidecar:shop/a/01", false),
            ("sidecar:shop/a/+0", false),
            ("sidecar:shop/a/-0", false),
            ("sidecar:shop/a/0x0", false),
            ("sidecar:shop/a/ 0", false),
            ("sidecar:shop/a/", false),
            ("sidecar:shop/a/99999999999999999999", false),
            ("Sidecar:shop/a/0", false),
            ("sidecar:Shop/a/0", false),
            ("sidecar:shop/a./0", false),
            ("sidecar:shop//a/0", false),
            ("gateway:shop/a/", false),
            (&too_long, false),
            (&format!("sidecar:shop/a/{zeros}"), false),
        ] {
            let read = text.parse::<NodeName>();
            assert_eq!(read.is_ok(), is_name, "{text:.80}");
            match read {
                Ok(name) => assert_eq!(name.to_string(), text),
                Err(error) => assert!(error.to_string().len() < 1_000, "{text:.80}"),
            }
        }
    }
}
