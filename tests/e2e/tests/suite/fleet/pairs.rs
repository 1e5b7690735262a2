//! A version and everything that it would run with are taken as a pair, whichever of the two changes: a pair
//! that was never asked about would be found out at a restart.

use serde_json::Value;

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
