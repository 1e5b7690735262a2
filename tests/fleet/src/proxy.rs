//! One simulated proxy: everything of a proxy that follows a director, except the engine and its listening
//! sockets.
//!
//! It receives parts, checks them, and verifies each slot: the author's signatures, the director's. A real
//! proxy rebuilds its complete plan and verifies every slot again, on a machine of its own; a thousand in
//! one process would measure that process. So only the new parts of a change are verified here, and the
//! rest of the plan is kept unchanged.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use http::{Request, StatusCode, header};
use http_body::Frame;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Deserialize as _;
use tamis_exchange::{ChannelBody, FrameSender};
use tamis_sync::{
    Activation, Backoff, ChangeOutcome, HeldParts, MessageFromNode, MessageToNode, NodeReport,
    Part, PartsFrame, Refused, RefusedReport, RunningReport, SlotReport,
};
use tamis_transport::{Address, ClientTls, OwnCertificate, connect};
use tamis_trust::{
    AssignmentRequest, Digest, SignaturePolicy, VerificationRequest, VersionFloors,
    verify_assignment, verify_manifest,
};

use crate::fleet::{Fleet, ServeEvent};
use crate::mesh::{DIRECTOR, own_files, service};
use crate::stream::{CountedStream, Lines};

/// How often it reports, as proxies do.
const REPORT: Duration = Duration::from_secs(10);
/// How long it waits for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy.
pub(crate) struct Proxy {
    fleet: Arc<Fleet>,
    at: usize,
    service: String,
    node: String,
    tls: ClientTls,
    held: HeldParts,
    seen: VersionFloors,
    slots: BTreeMap<String, (Digest, SlotReport)>,
    /// It was asked not to connect before this moment.
    asked: Option<Instant>,
}

/// How a stream ended.
#[derive(Default)]
struct StreamEnd {
    worked: bool,
    retry_after: Option<Duration>,
}

impl Proxy {
    /// The proxy of a service, which has its own certificate.
    pub(crate) fn new(fleet: Arc<Fleet>, at: usize) -> Result<Self> {
        let (certificate, key) = own_files(&fleet.folder, at);
        let own = OwnCertificate { certificate: &certificate, key: &key };
        let director = DIRECTOR.parse().context("the director's id")?;
        let ca = fleet.folder.join("ca.crt");
        let tls = ClientTls::from_files(Some(own), &ca, Some(director), "127.0.0.1")?;
        let service = service(at);
        Ok(Self {
            node: format!("sidecar:{service}/0"),
            tls: tls.with_alpn(&[b"h2"]),
            held: HeldParts::new(),
            seen: VersionFloors::default(),
            slots: BTreeMap::new(),
            asked: None,
            fleet,
            at,
            service,
        })
    }

    /// Follows the director for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let ended = self.stream().await.unwrap_or_default();
            if ended.worked {
                backoff.reset();
            }
            self.asked = ended.retry_after.map(|wait| Instant::now() + wait);
            let pause = backoff.next(RandomState::new().hash_one(0), ended.retry_after);
            tokio::time::sleep(pause).await;
        }
    }

    /// One stream, to its end.
    async fn stream(&mut self) -> Result<StreamEnd> {
        let fleet = Arc::clone(&self.fleet);
        fleet.tally.tries.fetch_add(1, Ordering::Relaxed);
        if self.asked.take().is_some_and(|moment| Instant::now() < moment) {
            fleet.tally.impatient.fetch_add(1, Ordering::Relaxed);
        }
        let coming = fleet.tally.coming.enter();
        let (mut sender, read) = self.connect().await?;
        let (say, lines) = ChannelBody::new(16);
        let release = env!("CARGO_PKG_VERSION");
        send(&say, &MessageFromNode::Hello(self.held.hello(&self.node, release))).await?;
        let node = self.node.replace('/', "%2F");
        let request = Request::post(format!("https://director/v1/nodes/{node}/stream"))
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(lines)?;
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await??;
        if answer.status() != StatusCode::OK {
            fleet.tally.put_off.fetch_add(1, Ordering::Relaxed);
            let asked = answer.headers().get(header::RETRY_AFTER);
            let asked = asked.and_then(|value| value.to_str().ok()?.parse().ok());
            return Ok(StreamEnd { worked: false, retry_after: asked.map(Duration::from_secs) });
        }
        drop(coming);
        let _stream = fleet.tally.streams.enter();
        let mut worked = false;
        let ended = self.serve(&say, Lines::new(answer.into_body()), &read, &mut worked).await;
        Ok(StreamEnd { worked, retry_after: ended.unwrap_or_default() })
    }

    async fn connect(&self) -> Result<(SendRequest<ChannelBody>, Arc<AtomicU64>)> {
        let address = Address::Tcp(self.fleet.director);
        let stream = connect(&address, Some(&self.tls), PATIENCE).await?;
        let read = Arc::new(AtomicU64::new(0));
        let stream = CountedStream { stream, read: Arc::clone(&read) };
        let mut builder = Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        drop(tokio::spawn(async move {
            // Its end is the end of the stream.
            let _ = connection.await;
        }));
        Ok((sender, read))
    }

    /// Receives and answers; returns when the stream ends, with the pause that the director asked for.
    async fn serve(
        &mut self,
        say: &FrameSender,
        mut lines: Lines,
        read: &AtomicU64,
        worked: &mut bool,
    ) -> Result<Option<Duration>> {
        let mut report = tokio::time::interval(REPORT);
        report.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = read.load(Ordering::Relaxed);
        loop {
            tokio::select! {
                line = lines.next() => {
                    let Some(line) = line? else { return Ok(None) };
                    *worked = true;
                    match serde_json::from_slice::<MessageToNode>(&line)? {
                        MessageToNode::Ping => before = read.load(Ordering::Relaxed),
                        MessageToNode::Refused { retry_after_ms, .. } => {
                            return Ok(Some(Duration::from_millis(retry_after_ms)));
                        }
                        MessageToNode::Parts(frame) => {
                            let Some((outcome, mut served)) = self.take(frame)? else { continue };
                            let now = read.load(Ordering::Relaxed);
                            served.bytes = now.saturating_sub(before);
                            before = now;
                            self.fleet.tell(served);
                            send(say, &MessageFromNode::Outcome(outcome)).await?;
                        }
                    }
                }
                _ = report.tick() => send(say, &MessageFromNode::Report(self.report())).await?,
            }
        }
    }

    /// Accepts a frame; returns the answer and the report once the change is complete.
    fn take(&mut self, frame: PartsFrame) -> Result<Option<(ChangeOutcome, ServeEvent)>> {
        let nonce = frame.nonce;
        let names: Vec<String> = frame.upserts.iter().map(|part| part.name.clone()).collect();
        let bytes: usize = frame.upserts.iter().map(|part| part.body.to_string().len()).sum();
        let Some(mut change) = self.held.take(frame)? else { return Ok(None) };
        self.fleet.share(&mut change, &names);
        self.held.keep(change);
        let slots = self.verify();
        let served = ServeEvent {
            at: self.at,
            when: Instant::now(),
            slots,
            bytes: 0,
            parts_bytes: u64::try_from(bytes)?,
        };
        let outcome = ChangeOutcome { nonce, taken: true, why: None, report: self.report() };
        Ok(Some((outcome, served)))
    }

    /// Verifies the slots that are new, and runs them from now on.
    fn verify(&mut self) -> Vec<(String, Option<Digest>)> {
        let parts = self.held.parts().clone();
        let trust = parts.iter().filter(|part| part.name.starts_with("trust/"));
        let policies: Vec<Arc<SignaturePolicy>> =
            trust.filter_map(|part| self.fleet.policy(part)).collect();
        let policies: Vec<SignaturePolicy> =
            policies.iter().map(|policy| SignaturePolicy::clone(policy)).collect();
        let mut fresh = Vec::new();
        for part in parts.iter() {
            let Some(slot) = part.name.strip_prefix("slot/") else { continue };
            if self.slots.get(slot).is_some_and(|(version, _)| *version == part.version) {
                continue;
            }
            let Ok(report) = self.slot(slot, part, &policies) else { continue };
            if report.running.is_none() {
                self.fleet.tally.refused.fetch_add(1, Ordering::Relaxed);
            }
            fresh.push((slot.to_owned(), report.running.as_ref().map(|it| it.digest)));
            self.slots.insert(slot.to_owned(), (part.version, report));
        }
        self.slots.retain(|slot, _| parts.get(&format!("slot/{slot}")).is_some());
        fresh
    }

    fn slot(
        &mut self,
        slot: &str,
        part: &Part,
        policies: &[SignaturePolicy],
    ) -> Result<SlotReport> {
        let activation = Activation::deserialize(&part.body)?;
        let filter = activation.filter.filter.parse()?;
        let (running, refused) = match self.admit(slot, &activation, policies) {
            Ok(running) => (Some(running), None),
            Err(error) => {
                let digest = activation.filter.digest.parse().unwrap_or(Digest::of(b""));
                let why = match error.downcast::<Refused>() {
                    Ok(refused) => refused,
                    Err(error) => Refused {
                        code: "assign.missing".into(),
                        rule: error.to_string(),
                        set_by: "the director".to_owned(),
                        remedy: "push the filter".to_owned(),
                    },
                };
                (None, Some(RefusedReport { digest, why }))
            }
        };
        Ok(SlotReport { slot: slot.to_owned(), filter, running, refused })
    }

    fn admit(
        &mut self,
        slot: &str,
        given: &Activation,
        policies: &[SignaturePolicy],
    ) -> Result<RunningReport> {
        let Some(manifest) = &given.manifest else { bail!("nothing proves it") };
        let digest: Digest = given.filter.digest.parse()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let bundles: Vec<&[u8]> = given.bundles.iter().map(String::as_bytes).collect();
        let verified = verify_manifest(&VerificationRequest {
            pinned: &digest,
            name: Some(&given.filter.filter),
            manifest: manifest.as_bytes(),
            bundles: &bundles,
            logged: &given.logged,
            policies,
            policy_age: Duration::ZERO,
            now: now.as_secs(),
        })?;
        let envelopes: Vec<&[u8]> = given.envelopes.iter().map(String::as_bytes).collect();
        let assignment = verify_assignment(&AssignmentRequest {
            service: &self.service,
            slot,
            manifest: &digest,
            config: &given.filter.config,
            envelopes: &envelopes,
            director: &self.fleet.keys,
            floor: self.seen.floor(&self.service, slot),
            now: now.as_secs(),
        })?;
        self.seen.take(&assignment);
        Ok(RunningReport {
            digest,
            config: assignment.config,
            version: verified.version,
            assignment: assignment.version,
            since_ms: u64::try_from(now.as_millis())?,
        })
    }

    fn report(&self) -> NodeReport {
        NodeReport {
            identity: None,
            plaintext: Vec::new(),
            node: self.node.clone(),
            slots: self.slots.values().map(|(_, report)| report.clone()).collect(),
            statistics: Vec::new(),
            shadows: Vec::new(),
            problems: Vec::new(),
        }
    }
}

async fn send(say: &FrameSender, message: &MessageFromNode) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    say.send(Ok(Frame::data(line.into()))).await.context("it no longer listens")
}
