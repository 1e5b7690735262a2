//! What would end a proxy before it serves, as far as this machine knows without an identity. A token admits a proxy once, so
//! it is tried before the token is sent.

use std::num::NonZeroUsize;
use std::path::Path;

use tamis_proxy::ProxyError;
use tamis_resources::plan::{ListenerPlan, NodePlan};
use tamis_sync::assemble;
use tamis_transport::{Address, bind};
use tamis_tuf::TrustedPolicies;

use crate::follow::{FollowedNode, StateFolder};
use crate::good::LastGoodDocuments;
use crate::sockets::listen_address;
use crate::staging::{read_plan, why};
use crate::{Node, NodeError, NodeOptions};

/// Name of the admin listener in errors.
const ADMIN: &str = "admin";

/// An address on which a proxy will listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedAddress {
    /// The listener.
    pub listener: String,
    /// Its address.
    pub address: Address,
}

impl WantedAddress {
    /// The address of the admin listener.
    #[must_use]
    pub fn admin(address: Address) -> Self {
        Self { listener: ADMIN.to_owned(), address }
    }

    /// Opens the address, and closes it again.
    ///
    /// # Errors
    /// [`NodeError::Proxy`], as at a start.
    pub fn try_open(&self) -> Result<(), NodeError> {
        let opened = bind(&self.address, NonZeroUsize::MIN);
        let failed = |source| ProxyError::Listen { listener: self.listener.clone(), source };
        opened.map(drop).map_err(failed).map_err(NodeError::Proxy)
    }
}

impl Node {
    /// Whether the documents of a proxy declare it; the addresses on which it will listen.
    ///
    /// # Errors
    /// As for [`Node::start`].
    pub fn rehearse(options: &NodeOptions) -> Result<Vec<WantedAddress>, NodeError> {
        let plan = declared(options)?;
        let mut wanted = wanted(&plan.listeners);
        if options.proxy.admin.is_none() {
            wanted.extend(admin(&plan));
        }
        Ok(wanted)
    }

    /// The SPIFFE id that the documents of a proxy give it; `None`: they give it none.
    ///
    /// # Errors
    /// As for [`Node::start`].
    pub fn declared_identity(options: &NodeOptions) -> Result<Option<String>, NodeError> {
        Ok(declared(options)?.identity)
    }
}

impl FollowedNode {
    /// Whether a proxy can use its state folder; the addresses on which it listens by the plan there.
    ///
    /// # Errors
    /// As for [`FollowedNode::start`].
    pub fn rehearse(
        state: &Path,
        policy_root: Option<&[u8]>,
    ) -> Result<Vec<WantedAddress>, NodeError> {
        let state = StateFolder::open(state)?;
        state.try_write()?;
        state.floors()?;
        if let Some(root) = policy_root {
            TrustedPolicies::open(root, &state.policy())?;
        }
        let held = state.held_parts();
        let Ok(assembled) = assemble(held.parts()) else { return Ok(Vec::new()) };
        let plan = &assembled.plan;
        Ok(wanted(&plan.listeners).into_iter().chain(admin(plan)).collect())
    }
}

/// The plan of the documents.
fn declared(options: &NodeOptions) -> Result<NodePlan, NodeError> {
    let NodeOptions { name, source, .. } = options;
    let (good, _) = LastGoodDocuments::open(&source.root, name);
    let read = read_plan(&good, source, name, true)?;
    read.plan.ok_or_else(|| {
        let why = why(&read.problems, &read.notes);
        NodeError::NoPlan { node: name.to_string(), why }
    })
}

fn wanted(listeners: &[ListenerPlan]) -> Vec<WantedAddress> {
    // An address that cannot be read is left out, and reported, at a start.
    let readable = listeners.iter().filter_map(|listener| {
        let (listener, address) = (listener.name.clone(), listen_address(&listener.address).ok()?);
        Some(WantedAddress { listener, address })
    });
    readable.collect()
}

fn admin(plan: &NodePlan) -> Option<WantedAddress> {
    plan.admin.as_ref()?.parse().ok().map(WantedAddress::admin)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn tcp(text: &str) -> WantedAddress {
        WantedAddress { listener: "http".to_owned(), address: text.parse().unwrap() }
    }

    #[test]
    fn an_address_that_somebody_has_is_named_and_a_free_one_stays_free() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = tcp(&address).try_open().unwrap_err();
        let said = tamis_transport::causes(&error);
        assert!(said.contains("listener `http`") && said.contains(&address), "{said}");
        drop(taken);
        tcp(&address).try_open().unwrap();
        drop(std::net::TcpListener::bind(&address).unwrap());
        let nowhere = tcp("192.0.2.1:80").try_open().unwrap_err();
        assert!(tamis_transport::causes(&nowhere).contains("192.0.2.1"), "{nowhere}");
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("s");
        let unix = WantedAddress::admin(Address::Unix(path.clone()));
        unix.try_open().unwrap();
        unix.try_open().unwrap();
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("other")).unwrap());
        let missing = WantedAddress::admin(Address::Unix(folder.path().join("no/s")));
        assert!(missing.try_open().is_err());
    }

    #[test]
    fn a_state_folder_that_cannot_be_used_is_named() {
        let folder = TempDir::new().unwrap();
        let state = folder.path().join("state");
        assert_eq!(FollowedNode::rehearse(&state, None).unwrap(), []);
        // What it leaves does not differ from a start that found nothing.
        assert_eq!(FollowedNode::rehearse(&state, None).unwrap(), []);
        let said = |error: &NodeError| tamis_transport::causes(error);
        let rows: [(&str, &dyn Fn()); 3] = [
            ("seen.json", &|| std::fs::write(state.join("seen.json"), "nothing").unwrap()),
            ("state/store", &|| {
                std::fs::remove_dir_all(state.join("store")).unwrap();
                std::fs::write(state.join("store"), "a file").unwrap();
            }),
            ("state", &|| {
                std::fs::remove_dir_all(&state).unwrap();
                std::fs::write(&state, "a file").unwrap();
            }),
        ];
        for (named, spoil) in rows {
            spoil();
            let error = FollowedNode::rehearse(&state, None).unwrap_err();
            assert!(said(&error).contains(named), "{named}: {}", said(&error));
        }
        let root = FollowedNode::rehearse(&folder.path().join("other"), Some(b"no root"));
        assert!(matches!(root, Err(NodeError::Policy(_))));
        let mode = std::fs::metadata(folder.path().join("other")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
