//! Sockets that use the SVID of the proxy: made once, since every handshake takes the current SVID.

use std::collections::HashMap;
use std::sync::Arc;

use tamis_resources::plan::{MemberTlsPlan, NodePlan};
use tamis_transport::{ClientCertificates, ClientTls, MeshIdentity, ServerTls, SpiffeId, causes};

/// Whether the proxy has an identity inside the mesh.
#[derive(Debug, Clone)]
pub(crate) enum Membership {
    /// It joined.
    Joined(MeshIdentity),
    /// It did not join: nothing that needs an SVID is opened.
    Absent,
    /// Documents are examined without a proxy; those that run them will have joined. Nothing is opened.
    Assumed,
}

impl From<Option<MeshIdentity>> for Membership {
    fn from(identity: Option<MeshIdentity>) -> Self {
        identity.map_or(Self::Absent, Self::Joined)
    }
}

/// Why an SVID that a plan needs is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingSvid {
    /// Stable name of the rule.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

impl Membership {
    /// Why the proxy cannot prove the identity that its plan says with an SVID; `None`: it can, or need not.
    pub(crate) fn missing(&self, plan: &NodePlan) -> Option<MissingSvid> {
        if !plan.needs_svid() {
            return None;
        }
        let wanted = plan.identity.as_deref().unwrap_or_default();
        match self {
            Self::Assumed => None,
            Self::Joined(identity) if identity.id().as_str() == wanted => None,
            Self::Joined(identity) => Some(MissingSvid {
                code: "identity.other",
                message: format!(
                    "this proxy is {} inside the mesh, but its document says {wanted}: it accepts and opens no connection inside the mesh",
                    identity.id()
                ),
                help: "correct `identity`, or restart the proxy: with a join token that was made after the change, or after its SPIFFE agent has an SVID of that id",
            }),
            Self::Absent => Some(MissingSvid {
                code: "identity.none",
                message: format!(
                    "this proxy has no SVID and its document has no `tls`, so it cannot prove {wanted}: it accepts and opens no connection inside the mesh, and never in clear text"
                ),
                help: "start it with `--join FILE`, a join file of the registry, or with `--workload-api SOCKET`, the socket of a SPIFFE agent, or write `tls` with files",
            }),
        }
    }
}

/// TLS with the SVID of the proxy.
pub(super) struct SvidSockets {
    membership: Membership,
    server: Option<Arc<ServerTls>>,
    /// By expected identity and server name.
    clients: HashMap<(String, String), Arc<ClientTls>>,
}

impl SvidSockets {
    pub(super) fn new(membership: Membership) -> Self {
        Self { membership, server: None, clients: HashMap::new() }
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The identity, if it is this one.
    fn identity(&self, svid: &str) -> Option<&MeshIdentity> {
        match &self.membership {
            Membership::Joined(identity) if identity.id().as_str() == svid => Some(identity),
            Membership::Joined(_) | Membership::Absent | Membership::Assumed => None,
        }
    }

    /// TLS of a listener for members of the mesh; `None` when the proxy does not have that SVID, which
    /// [`Membership::missing`] reports.
    pub(super) fn server(&mut self, svid: &str, notes: &mut Vec<String>) -> Option<Arc<ServerTls>> {
        let identity = self.identity(svid)?.clone();
        if self.server.is_none() {
            match ServerTls::from_identity(&identity, ClientCertificates::Required) {
                Ok(tls) => self.server = Some(Arc::new(tls)),
                Err(error) => notes.push(format!("the mesh: {}", causes(&error))),
            }
        }
        self.server.clone()
    }

    /// TLS to a peer, and a text that is the same for the same peer.
    ///
    /// # Errors
    /// `None`: the proxy does not have that SVID, which [`Membership::missing`] reports.
    pub(super) fn client(
        &mut self,
        svid: Option<&str>,
        plan: &MemberTlsPlan,
    ) -> Result<(Arc<ClientTls>, String), Option<String>> {
        let identity = svid.and_then(|svid| self.identity(svid)).ok_or(None)?;
        let key = (plan.expect_identity.clone(), plan.server_name.clone());
        let text = format!("svid {} {}", key.0, key.1);
        if let Some(tls) = self.clients.get(&key) {
            return Ok((Arc::clone(tls), text));
        }
        let expected: SpiffeId =
            key.0.parse().map_err(|error| Some(format!("{error}; its endpoint is not used")))?;
        let tls = ClientTls::from_identity(identity, Some(expected), &plan.server_name)
            .map_err(|error| Some(format!("{}; its endpoint is not used", causes(&error))))?;
        let tls = Arc::new(tls);
        self.clients.insert(key, Arc::clone(&tls));
        Ok((tls, text))
    }
}

#[cfg(test)]
mod tests;
