//! A proxy that follows a director: one stream, a folder that it starts from, and no trust in either.
//!
//! The director sends a plan in parts. Each slot comes with its proofs: the author's signatures over the
//! manifest, the director's over the assignment. Both are checked here, and again at every start;
//! components are fetched by digest. Without the director the proxy continues with what it has.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tamis_transport::{MeshIdentity, SpiffeId};
use tamis_trust::DirectorKeys;
use tokio::sync::watch;

use crate::{Node, NodeError, NodeOptions, NodeResources, Reload};

mod assignments;
mod dial;
mod followed;
mod lines;
mod link;
mod outcomes;
mod policies;
mod pull;
mod report;
mod state;

pub(crate) use followed::FollowedPlan;
pub(crate) use outcomes::SlotOutcome;
pub(crate) use state::StateFolder;

use link::Link;

/// How a proxy follows a director.
#[derive(Debug, Clone)]
pub struct FollowSettings {
    /// Its address, `HOST:PORT`. Several of one control plane, separated by commas, are tried in turn.
    pub director: String,
    /// How both prove who they are.
    pub login: DirectorLogin,
    /// The folder from which the proxy starts when no director responds.
    pub state: PathBuf,
    /// The keys that must have signed assignments.
    pub keys: DirectorKeys,
    /// The root from which policy metadata is trusted: the policies of the director's documents are then
    /// ignored. `None`: they count.
    pub policy_root: Option<Vec<u8>>,
    /// How often it reports; 10 seconds.
    pub report_every: Duration,
    /// The release that it reports.
    pub release: String,
}

/// How a proxy and its director prove to each other who they are.
#[derive(Debug, Clone)]
pub enum DirectorLogin {
    /// With files, which are read for each connection.
    Files {
        /// The proxy's own certificate: a PEM file, leaf first.
        certificate: PathBuf,
        /// Its key: a PEM file.
        key: PathBuf,
        /// The authority of the director's certificate: a PEM file.
        ca: PathBuf,
        /// The SPIFFE id that the director must have; `None`: its certificate must be valid for the host.
        director: Option<String>,
    },
    /// With the SVID of the proxy, the current one for each connection.
    Svid {
        /// The identity of the proxy.
        identity: MeshIdentity,
        /// The SPIFFE id that the director must have.
        director: SpiffeId,
    },
}

/// A proxy that follows a director. Dropping it ends the stream; the proxy keeps running until it is shut
/// down.
pub struct FollowedNode {
    node: Arc<Node>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A running proxy, and its first reload.
type StartResult = Result<(Arc<Node>, Reload), NodeError>;

/// The proxy, once there is one.
#[derive(Default)]
pub(crate) struct NodeStart {
    outcome: Mutex<Option<StartResult>>,
    there: Condvar,
}

impl NodeStart {
    pub(crate) fn set(&self, outcome: StartResult) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.there.notify_all();
    }

    fn wait(&self) -> StartResult {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = outcome.take() {
                return outcome;
            }
            outcome = self.there.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl FollowedNode {
    /// Starts from the state folder at once, or else as soon as the director has sent a plan. `on_reload`
    /// receives the result of every later change.
    ///
    /// The store and the documents of `options` are not used; paths of certificates are relative to the
    /// root of its source.
    ///
    /// # Errors
    /// The state folder cannot be used, or the first plan cannot be served.
    pub fn start(
        shared: &NodeResources,
        mut options: NodeOptions,
        follow: FollowSettings,
        on_reload: impl Fn(&Reload) + Send + Sync + 'static,
    ) -> Result<(Self, Reload), NodeError> {
        let state = StateFolder::open(&follow.state)?;
        options.store = state.store();
        options.source.paths.clear();
        let (name, held) = (options.name.clone(), state.held_parts());
        let followed = FollowedPlan::open(name, &follow, state, held.parts(), shared.clock)?;
        let followed = Arc::new(followed);
        let node = match followed.assembled() {
            // A plan that cannot be served from the folder may be replaced by the director's current one.
            None => None,
            Some(_) => {
                let (node, reload) =
                    Node::start_with(shared, options.again(), Some(Arc::clone(&followed)))?;
                Some((Arc::new(node), reload))
            }
        };
        let (stop, stopped) = watch::channel(false);
        let started = Arc::new(NodeStart::default());
        let link = Link {
            follow,
            held,
            followed,
            started: Arc::clone(&started),
            node: node.as_ref().map(|(node, _)| Arc::clone(node)),
            first: node.is_none().then(|| (shared.clone(), options)),
            on_reload: Arc::new(on_reload),
            clock: shared.clock,
            random: shared.random,
            refreshed: shared.clock.now(),
            tried: 0,
        };
        let run = move || link.run(stopped);
        let thread = std::thread::Builder::new().name("tamis-follow".to_owned()).spawn(run);
        let thread = Some(thread.map_err(NodeError::Thread)?);
        let (node, reload) = match node {
            Some(started) => started,
            None => started.wait()?,
        };
        Ok((Self { node, stop, thread }, reload))
    }

    /// The proxy.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }
}

impl Drop for FollowedNode {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // Its messages are in the log.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
