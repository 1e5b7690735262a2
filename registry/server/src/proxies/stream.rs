//! The stream of a proxy: changes of its plan to it, outcomes and reports from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tamis_ambient::Clock;
use tamis_sync::{MessageFromNode, MessageToNode, Session};
use tokio::sync::mpsc;

use crate::lines::{Lines, MAX_LINE_BYTES};
use crate::plane::{ConnectedProxy, Control, ProvenProxy};
use crate::shares::Place;

/// Interval of signs of life on a silent stream.
const PING: Duration = Duration::from_secs(15);
/// How long a proxy may be silent: it reports every 10 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a proxy keeps its place among those that catch up: one that never answers a change keeps it from nobody.
const SETTLED: Duration = Duration::from_secs(10);

/// A stream in progress.
pub(super) struct NodeStream {
    pub(super) clock: Clock,
    pub(super) control: Control,
    pub(super) peer: ProvenProxy,
    pub(super) session: Session,
    pub(super) proxy: ConnectedProxy,
    pub(super) to_node: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    /// Held until the proxy has its plan, for [`SETTLED`] at most.
    pub(super) settling: Option<Place>,
    /// When it connected.
    pub(super) connected: Instant,
    /// Nonces without an answer, with the revision of each change.
    pub(super) unanswered: Vec<(u64, u64)>,
}

impl NodeStream {
    /// Sends changes of the plan and receives messages, until one side ends the stream.
    pub(super) async fn run(mut self, mut lines: Lines) -> Result<(), String> {
        let mut ping = tokio::time::interval(PING);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_message = self.clock.now();
        loop {
            self.send_changes().await?;
            let settles = SETTLED.saturating_sub(self.clock.since(self.connected));
            tokio::select! {
                () = tokio::time::sleep(settles), if self.settling.is_some() => self.settling = None,
                line = lines.next() => match line? {
                    Some(line) => {
                        last_message = self.clock.now();
                        self.on_message(&line).await?;
                    }
                    None => return Ok(()),
                },
                changed = self.proxy.plan().changed() => {
                    changed.map_err(|_| "another connection took its place".to_owned())?;
                }
                _ = ping.tick() => {
                    if self.clock.since(last_message) > SILENCE {
                        return Err("it was silent for a minute".to_owned());
                    }
                    // The journal may have a revocation that another replica wrote; and a replica that cannot read it ends the
                    // stream, so that the proxy goes to another one. It keeps its plan meanwhile.
                    let revoked = self.control.refuse_revoked(&self.peer).await;
                    revoked.map_err(|problem| problem.title)?;
                    self.send(&MessageToNode::Ping).await?;
                }
            }
        }
    }

    /// Sends the changed parts, unless the previous change is not answered yet.
    async fn send_changes(&mut self) -> Result<(), String> {
        let plan = Arc::clone(&self.proxy.plan().borrow_and_update());
        if !plan.is_known() {
            return Ok(());
        }
        if let Some(frames) = self.session.frames(&plan.parts, plan.revision) {
            for frame in frames {
                if frame.last {
                    self.unanswered.push((frame.nonce, plan.revision));
                }
                self.send(&MessageToNode::Parts(frame)).await?;
            }
        } else if !self.session.outstanding() {
            self.proxy.current(plan.revision);
            self.settling = None;
        }
        Ok(())
    }

    async fn on_message(&mut self, line: &[u8]) -> Result<(), String> {
        // What a revoked proxy reports is not recorded any more.
        let revoked = self.control.refuse_revoked(&self.peer).await;
        revoked.map_err(|problem| problem.title)?;
        let message = serde_json::from_slice::<MessageFromNode>(line);
        match message.map_err(|error| format!("a line does not follow the protocol: {error}"))? {
            MessageFromNode::Hello(_) => Err("it sent two hello lines".to_owned()),
            MessageFromNode::Outcome(outcome) => {
                self.session.acknowledge(&outcome).map_err(|error| error.to_string())?;
                let change = self.unanswered.iter().find(|(nonce, _)| *nonce == outcome.nonce);
                let revision = change.map_or(0, |(_, revision)| *revision);
                self.unanswered.retain(|(nonce, _)| *nonce > outcome.nonce);
                self.settling = None;
                self.proxy.outcome(outcome, revision).map_err(|problem| problem.title)
            }
            MessageFromNode::Report(report) => {
                self.proxy.report(report).map_err(|problem| problem.title)
            }
        }
    }

    async fn send(&self, message: &MessageToNode) -> Result<(), String> {
        let mut line = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        if line.len() >= MAX_LINE_BYTES {
            tracing::error!(bytes = line.len(), "a line for a proxy is longer than it takes");
            return Err(format!("a line would have {} bytes", line.len()));
        }
        line.push(b'\n');
        let sent = self.to_node.send(Ok(Bytes::from(line))).await;
        sent.map_err(|_| "it is gone".to_owned())
    }
}
