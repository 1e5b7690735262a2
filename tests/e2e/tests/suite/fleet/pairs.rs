//! A version and everything that it would run with are taken as a pair, whichever of the two changes: a pair
//! that was never asked about would be found out at a restart.

use serde_json::{Value, json};
use tamis_e2e::{eventually, request};

use super::plane::{EDGE, Plane, Registry, SLOT, said};
use crate::guests;
use crate::mistakes::golden;

/// Changes of `guest.yaml` that the first version does not take: what, from, to, the code and some words of the
/// refusal.
const ROWS: [(&str, &str, &str, &str, &str); 6] = [
    ("a value", "do: edit", "do: refuse", "filter.configure", "never"),
    ("a setting", "do: edit", "do: edit, status: 429", "filter.configure", "status"),
    ("an import", "kv: {}, ", "", "grant.import", "imports `kv`"),
    ("a field", "writeHeaders: [\"*\"]", "writeHeaders: [x-b]", "grant.field", "writes `x-path`"),
    (
        "signatures",
        "  limits: { time: 20ms }",
        "  limits: { time: 20ms }\n  signedBy: { keys: [somebody], threshold: 1 }",
        "trust.threshold",
        "somebody",
    ),
    ("a world", "world: everything", "world: authorizer", "filter.world", "`world: authorizer`"),
];

fn pinned(registry: &Registry) -> Value {
    let pins = registry.did(&["pins"]);
    let mut pins = pins["items"].as_array().unwrap().iter();
    let guest = pins.find(|pin| pin["filter"] == "test/guest" && pin["service"] == "*");
    guest.unwrap()["digest"].clone()
}

#[test]
fn no_way_to_change_a_pair_takes_one_that_proxies_would_refuse() {
    let plane = Plane::new(|_| ());
    // The first version may do more than the second, and returns in every row.
    let registry = plane.registry("data", &["--growth-approvals", "0"]);
    let first = registry.ready();
    plane.relay.to(&[&registry.proxies]);
    let _gateway = plane.gateway(EDGE, "edge");
    registry.serves(EDGE, SLOT, &first);
    let brittle = guests::brittle().display().to_string();
    let second = registry.release_of(&brittle, "test/guest", 2, "local-dev");
    let kept = plane.folder.read("guest.yaml");
    for (what, from, to, code, words) in ROWS {
        let refused = |way: &str, arguments: &[&str]| {
            let done = registry.ask(arguments);
            let text = said(&done);
            assert!(!done.status.success(), "{what}, {way}: {text}");
            // A problem of a document has its place in the place of its code.
            let is_place = text.contains("guest.yaml:") && way.starts_with("documents");
            assert!(is_place || text.contains(code), "{what}, {way}: {text}");
            assert!(text.contains(words), "{what}, {way}: {text}");
        };
        plane.folder.edit("guest.yaml", from, to);
        refused("documents, planned", &["check", ".", "--live"]);
        refused("documents, applied", &["apply", "-f", "."]);
        assert_eq!(pinned(&registry), first.as_str());
        plane.folder.write("guest.yaml", &kept);

        // The way back is closed when the documents have changed under another version.
        registry.pin(2);
        plane.folder.edit("guest.yaml", from, to);
        registry.did(&["apply", "-f", ".", "--confirm"]);
        let again = ["pin", "*", "test/guest@1.0.0", "--allow-older"];
        refused("pinned", &again);
        refused("pinned, confirmed", &[&again[..], &["--confirm"]].concat());
        refused("pinned, dry", &[&again[..], &["--dry-run"]].concat());
        let back = ["rollback", "*", "test/guest", "--confirm"];
        refused("rolled back", &back);
        if what == "a setting" {
            let mut wrong = Vec::new();
            golden("rollback-to-older-settings", &said(&registry.tells(&back)), &mut wrong);
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
        refused(
            "rolled out",
            &[
                "rollout",
                "start",
                "guest-1",
                "test/guest@1.0.0",
                "--service",
                "*",
                "--wave",
                "100:1s",
            ],
        );
        assert_eq!(pinned(&registry), second.as_str(), "{what}");

        // A service that has a pin of its own does not return to the one for all.
        registry.did(&["pin", "test/edge", "test/guest@2.0.0", "--confirm"]);
        plane.folder.write("guest.yaml", &kept);
        registry.did(&["apply", "-f", ".", "--confirm"]);
        registry.did(&["pin", "*", "test/guest@1.0.0", "--allow-older", "--confirm"]);
        plane.folder.edit("guest.yaml", from, to);
        registry.did(&["apply", "-f", ".", "--confirm"]);
        refused("unpinned", &["unpin", "test/edge", "test/guest", "--confirm"]);

        plane.folder.write("guest.yaml", &kept);
        registry.did(&["apply", "-f", ".", "--confirm"]);
        registry.did(&["unpin", "test/edge", "test/guest", "--confirm"]);
        registry.serves(EDGE, SLOT, &first);
    }
}

#[test]
fn no_pin_is_removed_for_one_that_may_do_more_without_an_approval() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    // Pinned for all, and may do more than the second.
    registry.ready();
    let brittle = guests::brittle().display().to_string();
    registry.release_of(&brittle, "test/guest", 2, "local-dev");
    registry.did(&["pin", "test/edge", "test/guest@2.0.0", "--confirm"]);
    let unpin = ["unpin", "test/edge", "test/guest", "--confirm"];
    let refused = registry.ask(&unpin);
    let text = said(&refused);
    assert!(!refused.status.success() && text.contains("guard.approvals"), "{text}");
    assert!(text.contains("it may do more"), "{text}");
    registry.did(&["pin", "*", "test/guest@2.0.0", "--confirm"]);
    registry.did(&unpin);
}

/// The attachment of the second gateway, under whose configuration the second version reads more than the first.
const MORE: &str = "\
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: more, namespace: test }
spec:
  targetRefs: [{ kind: Gateway, name: back }]
  filter: test/guest
  phase: transform
  order: 78
  config: { do: edit, reads: [\":path\"], writes: [x-path, x-more] }
";

#[test]
fn what_a_version_may_do_more_in_any_service_of_a_change_needs_an_approval() {
    let plane = Plane::new(|folder| {
        Plane::second_gateway(folder, "back");
        folder.write("more.yaml", MORE);
    });
    let registry = plane.registry("data", &[]);
    let first = registry.ready();
    let brittle = guests::brittle().display().to_string();
    registry.release_of(&brittle, "test/guest", 2, "local-dev");
    let (edge, back) = ("test/edge", "test/back");
    let rows: [(&str, &[&str], bool); 7] = [
        ("rollout", &[back], true),
        ("rollout", &[edge, back], true),
        ("rollout", &[back, edge], true),
        ("rollout", &["*"], true),
        ("rollout", &[edge], false),
        ("pin", &[back], true),
        ("pin", &[edge], false),
    ];
    for (at, (how, services, grows)) in rows.into_iter().enumerate() {
        let name = format!("guest-{at}");
        let begin = ["rollout", "start", &name, "test/guest@2.0.0", "--wave", "100:1h"];
        let named: Vec<&str> = services.iter().flat_map(|one| ["--service", one]).collect();
        let pin = ["pin", services[0], "test/guest@2.0.0", "--confirm"];
        let rollout = [&begin[..], &named].concat();
        let asked: &[&str] = if how == "pin" { &pin } else { &rollout };
        let done = registry.ask(asked);
        let text = said(&done);
        assert_eq!(done.status.success(), !grows, "{how} {services:?}: {text}");
        let named = text.contains("guard.approvals") && text.contains("read x-secret");
        assert_eq!(named, grows, "{how} {services:?}: {text}");
        if !grows && how == "rollout" {
            // It goes back to what was pinned, which needs nobody's agreement.
            registry.did(&["rollout", "kill", &name, "--reason", "a test"]);
            assert_eq!(pinned(&registry), first.as_str());
        }
    }
}

#[test]
fn a_rollout_goes_no_further_with_documents_under_which_its_candidate_may_do_more_than_was_agreed_to()
 {
    let plane = Plane::new(|folder| {
        Plane::second_gateway(folder, "back");
    });
    let registry = plane.registry("data", &[]);
    registry.ready();
    let brittle = guests::brittle().display().to_string();
    registry.release_of(&brittle, "test/guest", 2, "local-dev");
    let begin = ["rollout", "start", "guest-2", "test/guest@2.0.0", "--service", "*"];
    registry.did(&[&begin[..], &["--wave", "50:10s", "--wave", "100:1h"]].concat());
    registry.did(&["rollout", "pause", "guest-2"]);
    plane.folder.write("more.yaml", MORE);
    registry.did(&["apply", "-f", ".", "--confirm"]);

    // A person does not take it further, and neither does the director when the bake time is over.
    let advance = ["rollout", "advance", "guest-2"];
    let refused = said(&registry.ask(&advance));
    assert!(refused.contains("rollout.move") && refused.contains("read x-secret"), "{refused}");
    registry.did(&["rollout", "resume", "guest-2"]);
    let held = eventually("the director pauses it", || {
        let view = registry.did(&["rollout", "status", "guest-2"]);
        view["why"].as_str().unwrap().contains("read x-secret").then_some(view)
    });
    assert_eq!(held["stage"], "paused in wave 1", "{held}");
    // Without them it goes on.
    registry.did(&["delete", "filterattachment", "more", "-n", "test", "--confirm"]);
    assert_eq!(registry.did(&advance)["stage"], "in wave 2");
}

/// A document of the namespace of these tests, or of security.
fn document(kind: &str, namespace: &str, name: &str, spec: Value) -> String {
    let metadata = json!({ "name": name, "namespace": namespace });
    let whole = json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
    whole.to_string()
}

/// The Grant of the guest, with these headers to write and these capabilities.
fn grant(writes: &[&str], imports: &[&str]) -> String {
    let mut given = json!({
        "clock": {}, "counters": {}, "http-client": { "hosts": [] }, "log": {}, "metrics": {},
        "quota": { "classes": {} }, "records": {},
    });
    imports.iter().for_each(|name| given[name] = json!({}));
    let request = json!({ "readHeaders": ["*"], "writeHeaders": writes, "attributes": ["*"] });
    let spec = json!({
        "filter": "test/guest", "request": request, "imports": given, "limits": { "time": "20ms" },
    });
    document("Grant", "security", "guest", spec)
}

fn attachment(writes: &[&str]) -> String {
    let spec = json!({
        "targetRefs": [{ "kind": "Gateway", "name": "edge" }], "filter": "test/guest",
        "phase": "transform", "order": 77,
        "config": { "do": "edit", "reads": [":path"], "writes": writes },
    });
    document("FilterAttachment", "test", "guest", spec)
}

#[test]
fn of_two_changes_at_once_that_do_not_fit_together_one_is_refused() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &["--growth-approvals", "0"]);
    registry.ready();
    let brittle = guests::brittle().display().to_string();
    registry.release_of(&brittle, "test/guest", 2, "local-dev");
    let (address, bearer) = registry.admin();
    let send = |path: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        request(&address, "POST", path, &headers, body.to_string().as_bytes())
    };
    let apply = |text: &str, confirm: bool| {
        let sources = [json!({ "source": "one.yaml", "text": text })];
        ("/v1/apply", json!({ "sources": sources, "confirm": confirm }))
    };
    let pin = |version: &str| {
        let body = json!({
            "service": "*", "filter": "test/guest", "version": version, "allowOlder": true,
            "confirm": true,
        });
        ("/v1/pins", body)
    };
    let (wide, narrow, without) =
        (grant(&["*"], &["kv"]), grant(&["x-other"], &["kv"]), grant(&["*"], &[]));
    let (writes, writes_none) = (attachment(&["x-path"]), attachment(&[]));
    let rows = [
        ("a Grant and an attachment", apply(&narrow, false), apply(&writes, false)),
        ("a Grant and a pin", apply(&without, false), pin("1.0.0")),
    ];
    for (what, one, other) in rows {
        for round in 0..6 {
            for (path, body) in [apply(&wide, true), apply(&writes_none, true), pin("2.0.0")] {
                let reply = send(path, &body);
                assert_eq!(reply.status, 200, "{what}: {}", reply.body);
            }
            let send = &send;
            let both = std::thread::scope(|scope| {
                let all = [&one, &other].map(|(path, body)| scope.spawn(move || send(path, body)));
                all.map(|one| one.join().unwrap())
            });
            let taken = both.iter().filter(|reply| reply.status == 200).count();
            let said = both.map(|reply| (reply.status, reply.body));
            assert_eq!(taken, 1, "{what}, round {round}: {said:?}");
        }
    }
}
