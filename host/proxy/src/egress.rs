//! Connections that leave the mesh: to the address that the application asked for, unread, where a rule lets them.

use crate::connection::CapturedConnection;
use crate::exchange::ExchangeState;
use crate::generation::{EgressRule, EgressRules};
use crate::leaving::{LeavingAddresses, LeavingConnection};
use crate::tcp_refusal::TcpRefusal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tamis_exchange::Outcome;
use tamis_transport::{Address, Stream, causes, connect};

/// Time limit for connecting: that of services without a policy.
const CONNECT: Duration = Duration::from_secs(5);

/// Connects to the address that the application asked for.
///
/// # Errors
/// No rule lets the connection leave, or nobody is there.
pub(crate) async fn leave(
    state: &mut ExchangeState,
    rules: &EgressRules,
    captured: Option<&CapturedConnection>,
    leaving: &Arc<LeavingAddresses>,
) -> Result<(Stream, LeavingConnection), TcpRefusal> {
    let Some(CapturedConnection { destination, peer, .. }) = captured.cloned() else {
        let detail = "nobody knows where the application wanted to go".to_owned();
        return Err(TcpRefusal::forbidden("egress.refused", detail));
    };
    may_leave(rules, destination)?;
    circular(leaving, destination, peer)?;
    state.endpoint = Some(destination.to_string().into());
    state.attempts = 1;
    match connect(&Address::Tcp(destination), None, CONNECT).await {
        Ok(stream) => {
            let left = leaving.add(stream.local_address());
            // Checked again: the connection that led here may have been added only meanwhile.
            circular(leaving, destination, peer)?;
            Ok((stream, left))
        }
        Err(error) => {
            state.outcome.insert(Outcome::UPSTREAM_FAILED);
            Err(TcpRefusal::host("upstream.connect", causes(&error)))
        }
    }
}

/// Whether a rule lets a connection leave.
pub(crate) fn may_leave(rules: &EgressRules, destination: SocketAddr) -> Result<(), TcpRefusal> {
    if rules.refused.contains(&destination) {
        let detail = format!(
            "{destination} is the address of a sidecar, to which only proxies connect, or of more than one service"
        );
        return Err(TcpRefusal::forbidden("egress.reserved", detail));
    }
    if rules.rule == EgressRule::Refuse {
        let detail = format!(
            "{destination} is not an address of the mesh, and the egress of this endpoint is registry-only"
        );
        return Err(TcpRefusal::forbidden("egress.refused", detail));
    }
    Ok(())
}

fn circular(
    leaving: &LeavingAddresses,
    destination: SocketAddr,
    peer: Option<SocketAddr>,
) -> Result<(), TcpRefusal> {
    if !leaving.has(peer) {
        return Ok(());
    }
    let detail = format!(
        "the kernel leads the proxy's own connection to {destination} back to it: `tamis capture install` must name the user or group of the proxy"
    );
    Err(TcpRefusal::host("egress.loop", detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_may_leave_is_what_the_rule_says_and_never_an_address_of_a_sidecar() {
        let refused = HashSet::from([at("10.0.0.2:15006")]);
        for (rule, destination, code) in [
            (EgressRule::Allow, "192.0.2.1:443", None),
            (EgressRule::Allow, "10.0.0.2:15006", Some("egress.reserved")),
            (EgressRule::Refuse, "192.0.2.1:443", Some("egress.refused")),
            (EgressRule::Refuse, "10.0.0.2:15006", Some("egress.reserved")),
        ] {
            let rules = EgressRules { rule, refused: refused.clone() };
            let said = may_leave(&rules, at(destination)).err();
            assert_eq!(said.as_ref().map(|one| &*one.code), code, "{destination}");
            assert!(said.is_none_or(|one| one.detail.contains(destination)));
        }
    }

    #[test]
    fn a_connection_of_the_proxy_that_comes_back_is_known_while_it_lives() {
        let leaving = Arc::new(LeavingAddresses::default());
        let own = at("10.0.0.1:40000");
        let open = leaving.add(Some(own));
        let said = circular(&leaving, at("192.0.2.1:443"), Some(own)).unwrap_err();
        assert_eq!(said.code, "egress.loop");
        assert!(circular(&leaving, at("192.0.2.1:443"), Some(at("10.0.0.1:40001"))).is_ok());
        drop(open);
        assert!(circular(&leaving, at("192.0.2.1:443"), Some(own)).is_ok());
    }
}
