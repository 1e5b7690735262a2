//! Measures a director with a large fleet: `cargo run -p tamis-director --example fleet [SERVICES]`.

#![expect(clippy::disallowed_methods, reason = "an example measures in real time")]

use std::io::Write;
use std::time::Instant;

use serde_json::{Value, json};
use tamis_director::{
    ApplyRecord, AssignmentTerms, Change, DocumentRecord, PinRecord, Plans, RecordBody, State,
};
use tamis_trust::Digest;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let services = std::env::args().nth(1).map_or(Ok(1_000), |text| text.parse())?;
    let mut out = std::io::stdout().lock();
    let mut state = State::default();
    let mut clock = Instant::now();
    let mut lap = |what: &str| -> Result<()> {
        writeln!(out, "{:>8} ms  {what}", clock.elapsed().as_millis())?;
        clock = Instant::now();
        Ok(())
    };
    let applied = ApplyRecord { documents: documents(services), ..ApplyRecord::default() };
    let count = applied.documents.len();
    for body in Change::Apply(applied).bodies()? {
        append(&mut state, body)?;
    }
    for at in 0..10 {
        append(&mut state, pin("*", at, "1.0.0")?.into())?;
    }
    lap(&format!("{count} documents and 10 pins are folded"))?;
    let mut plans = Plans::default();
    let drafts = plans.drafts(&state, 0, &AssignmentTerms::default());
    lap(&format!("{} assignments are drafted, nothing remembered", drafts.len()))?;
    for draft in drafts {
        append(&mut state, draft.record(vec!["signed".to_owned()]).into())?;
    }
    lap("they are taken in")?;
    let drafts = plans.drafts(&state, 0, &AssignmentTerms::default());
    lap(&format!("{} after no change", drafts.len()))?;
    let one = pin("shop/s7", 3, "1.1.0")?;
    let effect = plans.effect(&state, &Change::Pin(one.clone()))?;
    lap(&format!("a pin of one service is planned, touching {}", effect.touched.len()))?;
    append(&mut state, one.into())?;
    let drafts = plans.drafts(&state, 0, &AssignmentTerms::default());
    lap(&format!("{} after a pin of one service", drafts.len()))?;
    let nodes = state.nodes();
    let found: usize = nodes.iter().map(|node| plans.node(&state, node, 0).assigned.len()).sum();
    lap(&format!("{found} are found for all proxies"))?;
    append(&mut state, pin("*", 4, "1.1.0")?.into())?;
    let drafts = plans.drafts(&state, 0, &AssignmentTerms::default());
    lap(&format!("{} after a pin of all", drafts.len()))?;
    let moved =
        Change::Apply(ApplyRecord { documents: vec![service(7, 1)], ..ApplyRecord::default() });
    let effect = plans.effect(&state, &moved)?;
    lap(&format!("another address is planned, touching {}", effect.touched.len()))?;
    for body in moved.bodies()? {
        append(&mut state, body)?;
    }
    let drafts = plans.drafts(&state, 0, &AssignmentTerms::default());
    lap(&format!("{} after another address", drafts.len()))?;
    Ok(())
}

fn append(state: &mut State, body: RecordBody) -> Result<()> {
    state.apply(state.head() + 1, 1_800_000_000_000, "ada", body.kind(), &body.to_body()?);
    Ok(())
}

fn pin(service: &str, at: usize, version: &str) -> Result<PinRecord> {
    Ok(PinRecord {
        service: service.to_owned(),
        filter: format!("acme/f{at}").parse()?,
        version: version.parse()?,
        digest: Digest::of(format!("{at}@{version}").as_bytes()),
        allow_older: false,
        rollback: false,
    })
}

fn documents(services: usize) -> Vec<DocumentRecord> {
    let mut all: Vec<DocumentRecord> = (0..services).map(|at| service(at, 0)).collect();
    for at in 0..services {
        let spec = json!({ "targetRefs": [{ "kind": "Service", "name": format!("s{at}") }], "slowCall": "300ms" });
        all.push(document("UpstreamPolicy", &format!("s{at}"), "shop", &spec));
    }
    for at in 0..10 {
        let (name, world) = (format!("f{at}"), if at == 0 { "route-policy" } else { "authorizer" });
        let attachment = json!({
            "targetRefs": [{ "kind": "Mesh" }], "filter": format!("acme/{name}"), "phase": "traffic",
            "order": at, "direction": if at == 0 { "both" } else { "inbound" },
        });
        all.push(document("FilterAttachment", &name, "shop", &attachment));
        all.push(document("Filter", &name, "acme", &json!({ "world": world })));
        all.push(document("Grant", &name, "acme", &json!({ "filter": format!("acme/{name}") })));
    }
    all
}

fn service(at: usize, moved: usize) -> DocumentRecord {
    let (high, low) = (at / 250, at % 250 + 1);
    let spec = json!({
        "ports": [{ "port": 80, "protocol": "http" }],
        "identity": format!("spiffe://shop.example/ns/shop/s{at}"),
        "tls": { "certificate": format!("s{at}.crt"), "key": format!("s{at}.key"), "ca": "ca.crt" },
        "endpoints": [{
            "address": format!("10.{high}.{low}.{}:80", moved + 1),
            "sidecar": format!("10.{high}.{low}.{}:15006", moved + 1),
            "outbound": "127.0.0.1:15001",
        }],
    });
    document("Service", &format!("s{at}"), "shop", &spec)
}

fn document(kind: &str, name: &str, namespace: &str, spec: &Value) -> DocumentRecord {
    let text = json!({
        "apiVersion": "tamis.dev/v1alpha1", "kind": kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    });
    let text = text.to_string();
    let (key, digest) = (format!("{kind}/{namespace}/{name}"), Digest::of(text.as_bytes()));
    DocumentRecord {
        key,
        source: String::new(),
        lines_before: 0,
        digest,
        text,
        parsed: tamis_director::ParsedOnce::default(),
    }
}
