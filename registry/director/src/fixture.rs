//! A small mesh for tests: documents, a journal in memory, and a director working on it.

use serde_json::{Value, json};
use tamis_resources::NodeName;
use tamis_sync::{NodeReport, RunningReport, SlotReport};
use tamis_trust::Digest;

use crate::assign::AssignmentTerms;
use crate::plans::Plans;
use crate::record::{ApplyRecord, DocumentRecord, ParsedOnce, PinRecord, RecordBody, UnpinRecord};
use crate::rollout::{BreachAction, Event, GateSpec, Rollout, RolloutTerms, WaveSpec};
use crate::state::State;

mod entries;

pub(crate) use entries::{entry, mangled};

/// The beginning of the year 2010 in milliseconds.
pub(crate) const START_MS: u64 = 1_262_304_000_000;
pub(crate) const ROUTE: &str = "acme/route";
pub(crate) const JWT: &str = "acme/jwt";

/// An entry of the journal.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) time_ms: u64,
    pub(crate) actor: String,
    pub(crate) kind: String,
    pub(crate) body: Value,
}

/// A journal, and the state computed from it.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) entries: Vec<Entry>,
    pub(crate) state: State,
    pub(crate) plans: Plans,
    pub(crate) now_ms: u64,
}

impl World {
    /// An empty journal.
    pub(crate) fn empty() -> Self {
        Self { now_ms: START_MS, ..Self::default() }
    }

    /// Nothing happened yet in a registry that has a namespace of security.
    pub(crate) fn guarded() -> Self {
        let state = State::under(&["security".to_owned()]);
        Self { now_ms: START_MS, state, ..Self::default() }
    }

    /// Three services with two sidecars each and a gateway; both filters are pinned for all.
    pub(crate) fn mesh() -> Self {
        let mut world = Self::empty();
        world.append("ada", applied(mesh()));
        world.append("ada", pinned("*", ROUTE, "1.0.0"));
        world.append("ada", pinned("*", JWT, "1.0.0"));
        world
    }

    pub(crate) fn append(&mut self, actor: &str, body: impl Into<RecordBody>) {
        let body = body.into();
        self.raw(actor, body.kind(), body.to_body().unwrap());
    }

    pub(crate) fn raw(&mut self, actor: &str, kind: &str, body: Value) {
        let revision = self.state.head() + 1;
        self.state.apply(revision, self.now_ms, actor, kind, &body);
        let (actor, kind) = (actor.to_owned(), kind.to_owned());
        self.entries.push(Entry { time_ms: self.now_ms, actor, kind, body });
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        self.now_ms / 1_000
    }

    /// Signs and writes all assignments that are due; returns their number.
    pub(crate) fn assign(&mut self) -> usize {
        let drafts = self.plans.drafts(&self.state, self.now(), &AssignmentTerms::default());
        let count = drafts.len();
        for draft in drafts {
            self.append("director", draft.record(vec!["signed".to_owned()]));
        }
        count
    }

    pub(crate) fn start(&mut self, rollout: Rollout) {
        let body = self.state.start(rollout, Vec::new()).unwrap();
        self.append("ada", body);
    }

    pub(crate) fn step(&mut self, name: &str, event: Event) {
        let body = self.state.step(name, event, "because").unwrap();
        self.append("ada", body);
    }

    /// Digest and version assigned to a slot of a node.
    pub(crate) fn assigned(&mut self, node: &str, slot: &str) -> Option<(Digest, u64)> {
        let now = self.now();
        let wants = self.plans.node(&self.state, &name(node), now);
        wants.assigned.get(slot).map(|one| (one.digest, one.version))
    }

    /// Asserts that no entry was refused.
    pub(crate) fn is_well(&self) {
        assert_eq!(self.state.faults(), (&[][..], 0));
    }
}

pub(crate) fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

/// The digest of a version of a filter in these tests.
pub(crate) fn digest(filter: &str, version: &str) -> Digest {
    Digest::of(format!("{filter}@{version}").as_bytes())
}

pub(crate) fn pinned(service: &str, filter: &str, version: &str) -> PinRecord {
    PinRecord {
        service: service.to_owned(),
        filter: filter.parse().unwrap(),
        version: version.parse().unwrap(),
        digest: digest(filter, version),
        allow_older: false,
        rollback: false,
    }
}

pub(crate) fn unpinned(service: &str, filter: &str) -> UnpinRecord {
    UnpinRecord { service: service.to_owned(), filter: filter.parse().unwrap() }
}

/// A rollout of a filter everywhere, in waves of ten, fifty and a hundred percent.
pub(crate) fn rollout(name: &str, filter: &str, from: &str, to: &str) -> RolloutTerms {
    let wave = |percent| WaveSpec { percent, bake_ms: 1_000 };
    RolloutTerms {
        name: name.to_owned(),
        filter: filter.parse().unwrap(),
        from: digest(filter, from),
        to: digest(filter, to),
        version: to.parse().unwrap(),
        services: vec!["*".to_owned()],
        waves: vec![wave(10), wave(50), wave(100)],
        gates: GateSpec {
            min_exchanges: 10,
            max_trap_rate: Some(0.1),
            max_5xx_delta: None,
            max_denial_delta: None,
            max_added_p99_ms: None,
            max_refusals: None,
        },
        shadow: None,
        on_breach: BreachAction::Return,
        progress_deadline_ms: None,
    }
}

pub(crate) fn checked(spec: RolloutTerms) -> Rollout {
    Rollout::try_from(spec).unwrap()
}

pub(crate) fn applied(documents: impl IntoIterator<Item = DocumentRecord>) -> ApplyRecord {
    ApplyRecord { documents: documents.into_iter().collect(), ..ApplyRecord::default() }
}

pub(crate) fn removed(key: &str) -> ApplyRecord {
    ApplyRecord { removed: vec![key.to_owned()], ..ApplyRecord::default() }
}

/// A document in the form of its record.
pub(crate) fn document(kind: &str, key: &str, spec: &Value) -> DocumentRecord {
    let (namespace, name) = key.split_once('/').unwrap();
    let api = match kind {
        "Gateway" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => {
            "gateway.networking.k8s.io/v1"
        }
        "UDPRoute" => "gateway.networking.k8s.io/v1alpha2",
        "ReferenceGrant" => "gateway.networking.k8s.io/v1beta1",
        _ => "tamis.dev/v1alpha1",
    };
    let text = json!({
        "apiVersion": api, "kind": kind, "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    });
    let text = text.to_string();
    let digest = Digest::of(text.as_bytes());
    DocumentRecord {
        key: format!("{kind}/{key}"),
        source: String::new(),
        lines_before: 0,
        digest,
        text,
        parsed: ParsedOnce::default(),
    }
}

/// A service with that many sidecars.
pub(crate) fn service(key: &str, sidecars: usize) -> DocumentRecord {
    // Each service on a machine of its own: no two sidecars share an address.
    let machine = key.bytes().fold(0_u8, |sum, byte| sum.wrapping_add(byte));
    let endpoints: Vec<Value> = (0..sidecars)
        .map(|at| {
            json!({
                "address": format!("127.0.0.1:{}", 9_000 + at),
                "sidecar": format!("127.0.1.{machine}:{}", 15_000 + at),
                "outbound": format!("127.0.0.1:{}", 16_000 + at),
            })
        })
        .collect();
    let spec = json!({
        "ports": [{ "port": 80, "protocol": "http" }],
        "identity": format!("spiffe://shop.example/ns/{key}"),
        "tls": { "certificate": "c.crt", "key": "c.key", "ca": "ca.crt" },
        "endpoints": endpoints,
    });
    document("Service", key, &spec)
}

pub(crate) fn gateway(key: &str) -> DocumentRecord {
    let spec = json!({
        "listeners": [{ "name": "http", "port": 8080, "protocol": "HTTP" }],
        "identity": format!("spiffe://shop.example/ns/{key}"),
        "tls": { "certificate": "g.crt", "key": "g.key", "ca": "ca.crt" },
    });
    document("Gateway", key, &spec)
}

/// An authorizer on a service, with its configuration.
pub(crate) fn guard_of(service: &str, issuer: &str) -> DocumentRecord {
    let (namespace, name) = service.split_once('/').unwrap();
    let spec = json!({
        "targetRefs": [{ "kind": "Service", "name": name }],
        "filter": JWT, "phase": "authn", "order": 10, "config": { "issuer": issuer },
    });
    document("FilterAttachment", &format!("{namespace}/{name}-jwt"), &spec)
}

pub(crate) fn filter(key: &str, world: &str) -> [DocumentRecord; 2] {
    [
        document("Filter", key, &json!({ "world": world })),
        document("Grant", key, &json!({ "filter": key })),
    ]
}

/// The router of every proxy: its configuration differs between listeners.
pub(crate) fn router() -> DocumentRecord {
    let spec = json!({
        "targetRefs": [{ "kind": "Mesh" }], "filter": ROUTE, "phase": "traffic", "order": 10,
    });
    document("FilterAttachment", "shop/route", &spec)
}

fn mesh() -> Vec<DocumentRecord> {
    let mut documents = Vec::new();
    for key in ["shop/a", "shop/b", "shop/c"] {
        documents.extend([service(key, 2), guard_of(key, "https://idp.example")]);
    }
    documents.extend([gateway("shop/edge"), router()]);
    documents.extend(filter(ROUTE, "route-policy"));
    documents.extend(filter(JWT, "authorizer"));
    documents
}

/// A report: slot, filter, version, assignment and since when, of everything that runs.
pub(crate) fn report(node: &str, running: &[(&str, &str, &str, u64, u64)]) -> NodeReport {
    let slots = running.iter().map(|(slot, filter, version, assignment, since_ms)| SlotReport {
        slot: (*slot).to_owned(),
        filter: filter.parse().unwrap(),
        running: Some(RunningReport {
            digest: digest(filter, version),
            config: Digest::of(b"{}"),
            version: version.parse().unwrap(),
            assignment: *assignment,
            since_ms: *since_ms,
        }),
        refused: None,
    });
    NodeReport {
        identity: None,
        plaintext: Vec::new(),
        node: node.to_owned(),
        slots: slots.collect(),
        statistics: Vec::new(),
        shadows: Vec::new(),
        problems: Vec::new(),
    }
}

/// A refusal with only a code.
pub(crate) fn refusal(code: &str) -> tamis_sync::Refused {
    tamis_sync::Refused::new(code.to_owned(), "", "", "")
}
