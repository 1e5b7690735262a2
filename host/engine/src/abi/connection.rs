//! The hook `connection`.

use super::reply::reason;
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum ConnectionVerdict {
    #[component(name = "allow")]
    Allow,
    #[component(name = "deny")]
    Deny,
    #[component(name = "tunnel")]
    Tunnel(u32),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct ConnectionDecision {
    verdict: ConnectionVerdict,
    reason: Option<String>,
}

impl ConnectionDecision {
    /// The decision, or the rule of the contract that it breaks.
    pub(crate) fn checked(self) -> Result<x::ConnectionDecision, String> {
        let verdict = match self.verdict {
            ConnectionVerdict::Allow => x::ConnectionVerdict::Allow,
            ConnectionVerdict::Deny => x::ConnectionVerdict::Deny,
            ConnectionVerdict::Tunnel(backend) => x::ConnectionVerdict::Tunnel(backend),
        };
        Ok(x::ConnectionDecision { verdict, reason: reason(self.reason)? })
    }
}
