//! The proxies that keep buckets and counters together.

use serde::{Deserialize, Serialize};

/// Proxies that keep a state together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateScope {
    /// Each proxy by itself, all its workers together.
    #[default]
    Proxy,
    /// All proxies of a service together.
    Service,
    /// All proxies of the mesh together.
    Fleet,
}

impl StateScope {
    /// The word of a Grant.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Service => "service",
            Self::Fleet => "fleet",
        }
    }
}
