//! The stream to the director: opened, kept, opened again. It orders the steps of a change: parts, plan, components, reload, outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tamis_ambient::{Clock, Random};
use tamis_exchange::{ChannelBody, FrameSender};
use tamis_sync::{
    AssembledPlan, Backoff, ChangeOutcome, HeldParts, MessageFromNode, MessageToNode, NodeReport,
    PartsChange, PartsError, assemble,
};
use tamis_transport::causes;
use tokio::sync::watch;

use super::dial::dial;
use super::followed::FollowedPlan;
use super::lines::Lines;
use super::report::Reporter;
use super::{FollowSettings, NodeStart, pull};
use crate::{Node, NodeOptions, NodeResources, Reload};

/// Time limit for a response to begin.
const ANSWER: Duration = Duration::from_secs(15);
/// How long the director may be silent: it sends a sign of life every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// Interval at which files on disk are checked: certificates are renewed.
const REFRESH: Duration = Duration::from_secs(60);
/// How soon a component that could not be fetched is requested again.
const AGAIN: Duration = Duration::from_secs(2);

/// One proxy's connection to its director.
pub(crate) struct Link {
    pub(crate) follow: FollowSettings,
    /// The parts of the plan.
    pub(crate) held: HeldParts,
    pub(crate) followed: Arc<FollowedPlan>,
    pub(crate) started: Arc<NodeStart>,
    pub(crate) node: Option<Arc<Node>>,
    /// The options for starting the proxy when there is a plan; `None`: it runs.
    pub(crate) first: Option<(NodeResources, NodeOptions)>,
    pub(crate) on_reload: Arc<dyn Fn(&Reload) + Send + Sync>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) refreshed: Instant,
    /// Counts the directors that were tried.
    pub(crate) tried: usize,
}

/// What a line of the director asks for.
enum DirectorRequest {
    /// Nothing: it is a sign of life, or a part of a change.
    Nothing,
    /// To end the stream, and not to connect again before this time.
    Refusal(Duration),
    /// To make this change.
    Change(PartsChange),
}

/// Why a stream ended.
struct StreamEnd {
    why: String,
    /// It was useful: the next attempt may come soon.
    worked: bool,
    retry_after: Option<Duration>,
}

impl StreamEnd {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), worked: false, retry_after: None }
    }
}

impl Link {
    /// Keeps the stream open until it is stopped.
    pub(crate) fn run(mut self, mut stop: watch::Receiver<bool>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "the director cannot be followed"),
        };
        runtime.block_on(async {
            let mut backoff = Backoff::default();
            let mut reporter = Reporter::default();
            loop {
                let ended = tokio::select! {
                    ended = self.stream(&mut reporter) => ended,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                if ended.worked {
                    backoff.reset();
                }
                self.note(false);
                self.followed.store_last_message();
                self.refresh().await;
                let pause = backoff.next(self.random.number(), ended.retry_after);
                let (director, why) = (&self.follow.director, ended.why);
                tracing::warn!(
                    director,
                    why,
                    ?pause,
                    "no connection to the director; trying again"
                );
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
        });
    }

    /// One stream, to its end.
    async fn stream(&mut self, reporter: &mut Reporter) -> StreamEnd {
        let connection = match self.connect().await {
            Ok(connection) => connection,
            Err(why) => return StreamEnd::new(why),
        };
        let (sender, lines) = ChannelBody::new(16);
        let name = self.followed.name().to_string();
        let hello = MessageFromNode::Hello(self.held.hello(&name, &self.follow.release));
        if let Err(why) = send(&sender, &hello).await {
            return StreamEnd::new(why);
        }
        let node = name.replace('/', "%2F");
        let request = Request::post(format!("https://director/v1/nodes/{node}/stream"))
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(lines);
        let request = match request {
            Ok(request) => request,
            Err(error) => return StreamEnd::new(error.to_string()),
        };
        let answer = tokio::time::timeout(ANSWER, connection.clone().send_request(request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return StreamEnd::new(causes(&error)),
            Err(_) => return StreamEnd::new("it does not respond"),
        };
        if answer.status() != StatusCode::OK {
            return refused(answer).await;
        }
        let mut lines = Lines::new(answer.into_body());
        let mut worked = false;
        match self.serve(&connection, &sender, &mut lines, reporter, &mut worked).await {
            Ok(retry_after) => {
                StreamEnd { why: "it ended the stream".to_owned(), worked, retry_after }
            }
            Err(why) => StreamEnd { why, worked, retry_after: None },
        }
    }

    /// A connection to the first director that accepts one, starting after the one that was tried last.
    async fn connect(&mut self) -> Result<SendRequest<ChannelBody>, String> {
        let directors: Vec<&str> = self.follow.director.split(',').map(str::trim).collect();
        let mut failed = Vec::new();
        for _ in &directors {
            let at = self.tried;
            // Whether or not this one turns out to be useful, another is tried next.
            self.tried = self.tried.wrapping_add(1);
            let director = directors.get(at % directors.len()).copied().unwrap_or_default();
            match dial(&self.follow, director).await {
                Ok(connection) => return Ok(connection),
                Err(why) => failed.push(format!("{director}: {why}")),
            }
        }
        Err(failed.join("; "))
    }

    /// Receives and sends lines; returns when the stream ends, with the wait that the director requested.
    async fn serve(
        &mut self,
        connection: &SendRequest<ChannelBody>,
        sender: &FrameSender,
        lines: &mut Lines,
        reporter: &mut Reporter,
        worked: &mut bool,
    ) -> Result<Option<Duration>, String> {
        let mut report = tokio::time::interval(self.follow.report_every);
        report.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let clock = self.clock;
        let mut last_message = clock.now();
        // What was lost or damaged in the folder is fetched even when nothing else changes.
        let mut missing = usize::from(self.followed.assembled().is_some());
        let mut again = clock.now();
        loop {
            tokio::select! {
                line = lines.next() => {
                    let Some(line) = line? else { return Ok(None) };
                    last_message = clock.now();
                    self.followed.note_message();
                    self.note(true);
                    *worked = true;
                    match self.on_message(&line)? {
                        DirectorRequest::Nothing => {}
                        DirectorRequest::Refusal(retry_after) => return Ok(Some(retry_after)),
                        DirectorRequest::Change(change) => {
                            let outcome = self.change(connection, change, reporter, &mut missing).await?;
                            send(sender, &MessageFromNode::Outcome(outcome)).await?;
                            again = clock.now() + AGAIN;
                        }
                    }
                }
                _ = report.tick() => {
                    if clock.since(last_message) > SILENCE {
                        return Err("it was silent for too long".to_owned());
                    }
                    self.followed.store_last_message();
                    self.refresh().await;
                    let report = self.report(reporter);
                    send(sender, &MessageFromNode::Report(report)).await?;
                }
                () = tokio::time::sleep_until(again.into()), if missing > 0 => {
                    if let Some(assembled) = self.followed.assembled() {
                        missing = pull::components(connection, &self.followed, &assembled).await;
                    }
                    self.reload().await?;
                    send(sender, &MessageFromNode::Report(self.report(reporter))).await?;
                    again = clock.now() + AGAIN;
                }
            }
        }
    }

    /// Processes a line of the director.
    fn on_message(&mut self, line: &[u8]) -> Result<DirectorRequest, String> {
        let message = serde_json::from_slice::<MessageToNode>(line);
        match message.map_err(|error| format!("a line does not follow the protocol: {error}"))? {
            MessageToNode::Ping => Ok(DirectorRequest::Nothing),
            MessageToNode::Refused { code, rule, remedy, retry_after_ms } => {
                tracing::warn!(code, rule, remedy, "the director refuses this proxy");
                Ok(DirectorRequest::Refusal(Duration::from_millis(retry_after_ms)))
            }
            MessageToNode::Parts(frame) => {
                let change = self.held.take(frame).map_err(|error| error.to_string())?;
                Ok(change.map_or(DirectorRequest::Nothing, DirectorRequest::Change))
            }
        }
    }

    /// The plan after a change.
    fn assemble(&self, change: &PartsChange) -> Result<AssembledPlan, PartsError> {
        let assembled = assemble(&change.parts)?;
        let node = &assembled.plan.node;
        if *node != self.followed.name().to_string() {
            let why = format!("it is the plan of {node}");
            return Err(PartsError::Malformed { name: "node".to_owned(), why });
        }
        Ok(assembled)
    }

    /// Adopts a change. If it cannot be written to disk it still takes effect; a restart then resumes from
    /// the previous one.
    fn adopt(&mut self, change: PartsChange, assembled: AssembledPlan) {
        self.followed.adopt(assembled, &change.parts);
        self.held.keep(change);
        if let Err(error) = self.followed.state.keep_parts(&self.held) {
            tracing::warn!(%error, "the director's plan cannot be stored");
        }
    }

    /// Makes a change; returns the outcome.
    async fn change(
        &mut self,
        connection: &SendRequest<ChannelBody>,
        change: PartsChange,
        reporter: &mut Reporter,
        missing: &mut usize,
    ) -> Result<ChangeOutcome, String> {
        let nonce = change.nonce;
        let assembled = match self.assemble(&change) {
            Ok(assembled) => assembled,
            Err(error) => {
                let why = Some(error.to_string());
                return Ok(ChangeOutcome {
                    nonce,
                    taken: false,
                    why,
                    report: self.report(reporter),
                });
            }
        };
        *missing = pull::components(connection, &self.followed, &assembled).await;
        let named = assembled.slots.values().chain(assembled.shadows.values());
        let named = named.filter_map(|one| one.manifest.as_ref());
        let named = named.map(|text| tamis_trust::Digest::of(text.as_bytes()).hex()).collect();
        self.adopt(change, assembled);
        self.reload().await?;
        self.followed.state.tidy(&named);
        Ok(ChangeOutcome { nonce, taken: true, why: None, report: self.report(reporter) })
    }

    /// Stages the plan: starts the proxy with it, or swaps. On another thread, since compiling takes a
    /// while and the stream must stay alive.
    async fn reload(&mut self) -> Result<(), String> {
        let failed = |error: tokio::task::JoinError| error.to_string();
        if let Some(node) = &self.node {
            let (node, on_reload) = (Arc::clone(node), Arc::clone(&self.on_reload));
            let reload = tokio::task::spawn_blocking(move || node.reload());
            on_reload(&reload.await.map_err(failed)?);
            return Ok(());
        }
        let Some((shared, options)) = self.first.take() else { return Ok(()) };
        let (followed, again) = (Arc::clone(&self.followed), (shared.clone(), options.again()));
        let started =
            tokio::task::spawn_blocking(move || Node::start_with(&shared, options, Some(followed)));
        match started.await.map_err(failed)? {
            Ok((node, reload)) => {
                let node = Arc::new(node);
                self.node = Some(Arc::clone(&node));
                self.note(true);
                self.started.set(Ok((node, reload)));
                Ok(())
            }
            Err(error) => {
                let why = causes(&error);
                self.first = Some(again);
                self.started.set(Err(error));
                Err(why)
            }
        }
    }

    /// Checks the files on disk at intervals.
    async fn refresh(&mut self) {
        if self.node.is_some() && self.clock.since(self.refreshed) > REFRESH {
            self.refreshed = self.clock.now();
            if let Err(why) = self.reload().await {
                tracing::warn!(why, "the files on disk cannot be checked");
            }
        }
    }

    /// Reports the state of the connection to the proxy, for its metrics.
    fn note(&self, connected: bool) {
        if let Some(node) = &self.node {
            node.proxy().director(connected, self.followed.last_message());
        }
    }

    fn report(&self, reporter: &mut Reporter) -> NodeReport {
        reporter.report(&self.followed, self.node.as_deref())
    }
}

async fn send(sender: &FrameSender, message: &MessageFromNode) -> Result<(), String> {
    let mut line = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    line.push(b'\n');
    sender
        .send(Ok(Frame::data(line.into())))
        .await
        .map_err(|_| "the director no longer reads what this proxy sends".to_owned())
}

/// The response of a director that refuses the proxy.
async fn refused(answer: http::Response<Incoming>) -> StreamEnd {
    let (head, body) = answer.into_parts();
    let retry_after = head.headers.get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = http_body_util::Limited::new(body, 64 << 10).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| {
        let text = problem.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        text.chars().filter(|one| !one.is_control()).take(300).collect::<String>()
    };
    StreamEnd {
        why: format!("{} {}: {}; {}", head.status, text("code"), text("title"), text("remedy")),
        worked: false,
        retry_after: retry_after.map(Duration::from_secs),
    }
}
