//! A proxy that follows, and the releases and assignments that it receives.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;

use serde_json::json;
use tamis_ambient::Clock;
use tamis_proxy::ProxyOptions;
use tamis_resources::fold;
use tamis_resources::plan::NodePlan;
use tamis_sync::{Activation, SlotReport, split};
use tamis_trust::{Assignment, AssignmentMode, Digest, config_digest, sign_assignment};
use tempfile::TempDir;

use super::director::Director;
use crate::follow::*;
use crate::testing::{SigningStore, plan, shared};
use crate::{ArtifactStore, DocumentPlaces, Secrets};

const NODE: &str = "gateway:test/edge";
pub(crate) const RETRY: &str = "test/retry";
pub(crate) const BREAKER: &str = "test/circuit-breaker";

/// A filter that was built and signed.
#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) digest: Digest,
    manifest: String,
    bundle: String,
}

/// A gateway's plan, the authors' keys, and the director's assignments.
pub(crate) struct Fleet {
    pub(crate) director: Director,
    signed: SigningStore,
    pub(crate) state: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) plan: NodePlan,
    pub(crate) slots: BTreeMap<String, Activation>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let (folder, address) = crate::node::tests::folder();
        let source = DocumentPlaces::folder(folder.path());
        let documents = source.read().unwrap().documents;
        let name = NODE.parse().unwrap();
        let mut plan = fold(&documents, &name, &|file| source.file(file)).plan.unwrap();
        let signed = SigningStore::new();
        plan.trust = vec![signed.document(&json!({}))];
        let state = TempDir::new().unwrap();
        let director = Director::start();
        Self { director, signed, state, address, plan, slots: BTreeMap::new() }
    }

    /// With the retry filter in version 1.0.0, and a proxy that serves it.
    pub(crate) fn serving() -> (Self, FollowedNode, Release) {
        let mut fleet = Self::new();
        let first = fleet.release("retry", "1.0.0");
        fleet.assign("retry", &first, 1);
        fleet.push();
        let following = fleet.start();
        fleet.serves(RETRY, &first.digest);
        (fleet, following, first)
    }

    /// Builds and signs a release of a built-in filter. The director has its component.
    pub(crate) fn release(&mut self, name: &str, version: &str) -> Release {
        let digest = self.signed.add(name, version);
        let file = self.signed.file(name).display().to_string();
        let read = |ending: &str| std::fs::read_to_string(format!("{file}{ending}")).unwrap();
        let component = std::fs::read(&file).unwrap();
        let component_digest = Digest::of(&component).to_string();
        self.director.world().blobs.insert(component_digest, component.into());
        let (manifest, bundle) = (read(".manifest.json"), read(".sigstore.json"));
        Release { digest, manifest, bundle: bundle.trim_end().to_owned() }
    }

    /// Puts a release into the slot of a filter, as its `version`th assignment.
    pub(crate) fn assign(&mut self, name: &str, release: &Release, version: u64) {
        let filter = plan(name, &release.digest);
        let slot = filter.attachment.clone();
        let place = self.plan.filters.iter().position(|one| one.attachment == slot);
        match place {
            Some(at) => self.plan.filters[at] = filter.into(),
            None => {
                let attachments = &mut self.plan.listeners[0].chain.attachments;
                attachments.push(self.plan.filters.len());
                self.plan.filters.push(filter.into());
            }
        }
        let activation = self.activation(name, release, |one| one.version = version);
        self.slots.insert(slot, activation);
    }

    /// The proofs that a release runs in the slot of a filter, with a modified assignment.
    pub(crate) fn activation(
        &self,
        name: &str,
        release: &Release,
        change: impl FnOnce(&mut Assignment),
    ) -> Activation {
        let filter = plan(name, &release.digest);
        let mut assignment = Assignment {
            service: "test/edge".to_owned(),
            slot: filter.attachment.clone(),
            filter: filter.filter.parse().unwrap(),
            manifest: release.digest,
            config: config_digest(&filter.config),
            version: 1,
            issued: Clock::system().unix_secs() - 10,
            expires: Clock::system().unix_secs() + 3_600,
            mode: AssignmentMode::Serve,
        };
        change(&mut assignment);
        Activation {
            filter: filter.into(),
            manifest: Some(release.manifest.clone()),
            bundles: vec![release.bundle.clone()],
            envelopes: vec![sign_assignment(&self.director.key, &assignment).unwrap()],
            logged: vec![None],
        }
    }

    /// Makes the director send the current assignments.
    pub(crate) fn push(&self) {
        self.director.wants(split(&self.plan, &self.slots));
    }

    /// The same, and waits for the answer: later reports are newer than it.
    pub(crate) fn push_answered(&self) {
        self.director.world().outcome = None;
        self.push();
        self.director.until("an answer", |world| world.outcome.is_some());
    }

    pub(crate) fn try_start(
        &self,
        change: impl FnOnce(&mut FollowSettings),
    ) -> Result<FollowedNode, NodeError> {
        let shared = shared();
        let options = NodeOptions {
            name: NODE.parse().unwrap(),
            source: DocumentPlaces::folder(self.director.folder.path()),
            store: ArtifactStore::new(Vec::new()),
            secrets: Secrets::default(),
            certificates: None,
            proxy: ProxyOptions { workers: NonZeroUsize::new(1), ..ProxyOptions::default() },
        };
        let mut follow = self.director.follow(self.state.path());
        change(&mut follow);
        FollowedNode::start(&shared, options, follow, |_| {}).map(|(following, _)| following)
    }

    pub(crate) fn start(&self) -> FollowedNode {
        self.try_start(|_| {}).unwrap()
    }

    /// Waits until the proxy reports that a slot runs a digest and refuses nothing.
    pub(crate) fn serves(&self, slot: &str, digest: &Digest) -> SlotReport {
        let runs = |one: &SlotReport| one.running.as_ref().is_some_and(|it| it.digest == *digest);
        self.director.reports(slot, |one| runs(one) && one.refused.is_none())
    }

    /// Waits until the proxy reports that a slot refuses a digest; returns the rule.
    pub(crate) fn refuses(&self, slot: &str, digest: &Digest) -> (String, SlotReport) {
        let refuses =
            |one: &SlotReport| one.refused.as_ref().is_some_and(|it| it.digest == *digest);
        let report = self.director.reports(slot, refuses);
        (report.refused.clone().unwrap().why.code.into_owned(), report)
    }

    /// A file of a release in the proxy's folder.
    pub(crate) fn kept(&self, release: &Release, ending: &str) -> PathBuf {
        self.state.path().join(format!("store/{}.wasm{ending}", release.digest.hex()))
    }
}

/// The state of one slot on the proxy.
pub(crate) fn state(following: &FollowedNode, slot: &str) -> String {
    let status = following.node().proxy().status();
    status.slots.iter().find(|one| one.attachment == slot).unwrap().state.to_string()
}

/// Status code of an exchange.
pub(crate) fn exchange(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}
