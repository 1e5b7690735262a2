//! Connections at a socket of the mesh that also takes plain text: what begins with TLS is a member's, everything else is of
//! a caller without an identity.

use super::handle::Worker;
use super::state::WorkerState;
use crate::generation::SocketKey;
use crate::plaintext_counts::{OpenPlaintext, PlaintextPort};
use crate::shared::ProxyShared;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_transport::{PlainStream, StreamBeginning, causes};

/// How long the first octet is waited for, as long as a handshake may take. It alone says what the client speaks.
const FIRST_OCTET: Duration = Duration::from_secs(10);

/// The listener of a socket for what comes in plain text.
pub(super) struct PlaintextListener {
    pub(super) name: String,
    port: Arc<PlaintextPort>,
}

/// Why it is not known what a client speaks.
pub(super) struct UnclearBeginning {
    /// One word of the list of failed handshakes.
    pub(super) reason: &'static str,
    pub(super) text: String,
}

impl PlaintextListener {
    /// Whether a connection is one in plain text. Nothing of it is read.
    ///
    /// # Errors
    /// [`UnclearBeginning`] if the client sends nothing.
    pub(super) async fn takes(&self, plain: &PlainStream) -> Result<bool, UnclearBeginning> {
        let closed = |text: String| Err(UnclearBeginning { reason: "closed", text });
        match tokio::time::timeout(FIRST_OCTET, plain.beginning()).await {
            Ok(Ok(StreamBeginning::Tls)) => Ok(false),
            Ok(Ok(StreamBeginning::Plaintext)) => Ok(true),
            Ok(Ok(StreamBeginning::Nothing)) => {
                closed("the client left before it sent anything".to_owned())
            }
            Ok(Err(error)) => closed(causes(&error)),
            Err(_elapsed) => {
                let text = format!(
                    "the client sent nothing for {FIRST_OCTET:?}, so it is not known whether it speaks TLS; where the server speaks \
                     first, callers need a sidecar"
                );
                Err(UnclearBeginning { reason: "silent", text })
            }
        }
    }

    /// Counts a connection until it is dropped.
    pub(super) fn open(&self, shared: &ProxyShared) -> OpenPlaintext {
        shared.plaintext.open(&self.port, shared.clock)
    }
}

impl WorkerState {
    /// The listener of a socket for what comes in plain text; `None`: the socket takes none.
    pub(super) fn plaintext(&self, key: &SocketKey) -> Option<PlaintextListener> {
        self.listeners_of(key).find_map(|one| {
            let port = Arc::clone(one.plaintext.as_ref()?);
            Some(PlaintextListener { name: one.name.clone(), port })
        })
    }
}

impl Worker {
    /// Ends when a listener takes no plain text any more. One that is there no more ends its connections itself.
    pub(super) async fn is_strict(&self, name: &str) {
        let mut state = self.followed.subscribe();
        let strict = |state: &Rc<WorkerState>| {
            state.listener(name).is_some_and(|(listener, _)| listener.plaintext.is_none())
        };
        // What it returns locks the state: held, it would stop the worker that sets the next one.
        let ended = state.wait_for(strict).await.is_err();
        if ended {
            // The worker ends, and its connections with it.
            std::future::pending::<()>().await;
        }
    }
}
