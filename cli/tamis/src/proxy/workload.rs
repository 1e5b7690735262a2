//! How a proxy takes its SVID from a SPIFFE agent.

use anyhow::{Context as _, Result, bail};
use tamis_ambient::{Clock, Random};
use tamis_identity::{AgentSocket, AgentSvid, WantedSvid};
use tamis_node::{DirectorLogin, Node, NodeOptions};
use tamis_transport::{MeshIdentity, SpiffeId, causes};

use crate::output;

/// The SVID that a proxy needs whose documents are in a folder.
pub(super) fn declared(options: &NodeOptions) -> Result<WantedSvid> {
    let name = &options.name;
    let Some(id) = Node::declared_identity(options)? else {
        bail!(
            "no document gives {name} an `identity`, so it needs no SVID: write one, or leave --workload-api out"
        );
    };
    Ok(WantedSvid::Id(id.parse().with_context(|| format!("the identity of {name}"))?))
}

/// Waits for the first SVID of an agent. While the agent is away, or knows nothing of this proxy, it asks again, without an end.
pub(super) fn supplied(socket: &AgentSocket, wanted: WantedSvid) -> Result<AgentSvid> {
    let busy = output::busy(format!("waiting for the SPIFFE agent at {socket}"));
    let from = (Clock::system(), Random::system());
    let supplied = AgentSvid::start(socket.clone(), wanted, from, |error, pause| {
        tracing::warn!(why = causes(error), ?pause, "the proxy has no SVID yet");
    });
    drop(busy);
    Ok(supplied?)
}

/// Who the director must be for a proxy that shows it the SVID of an agent.
pub(super) fn director(id: Option<&str>) -> Result<SpiffeId> {
    let Some(id) = id else {
        bail!(
            "--follow with --workload-api needs --director-id, the SPIFFE id of the director in the trust domain of the agent; or --join FILE, or --certificate, --key and --ca"
        );
    };
    id.parse().context("the director's id")
}

/// How a proxy proves itself to a director of the agent's trust domain.
pub(super) fn login(identity: MeshIdentity, director_id: Option<&str>) -> Result<DirectorLogin> {
    Ok(DirectorLogin::Svid { identity, director: director(director_id)? })
}
