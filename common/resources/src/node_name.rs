//! The name of a proxy.

use std::fmt;
use std::str::FromStr;

use crate::format;

/// Names one proxy.
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
    "`{0}` is not the name of a proxy; write gateway:namespace/name or sidecar:namespace/service[/index]"
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
        let keyed = |key: &str| format::accepts("filter-name", key).then(|| key.to_owned());
        if let Some(key) = text.strip_prefix("gateway:") {
            return Ok(Self::Gateway { key: keyed(key).ok_or_else(bad)? });
        }
        let rest = text.strip_prefix("sidecar:").ok_or_else(bad)?;
        let (key, index) = match rest.rsplit_once('/') {
            Some((key, index)) if key.contains('/') => (key, index.parse().map_err(|_| bad())?),
            _ => (rest, 0),
        };
        Ok(Self::Sidecar { key: keyed(key).ok_or_else(bad)?, index })
    }
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
}
