//! What an author reads who pushes to a registry and pins there.

use super::plane::{EDGE, Plane, SLOT, json, said};
use crate::guests;
use crate::mistakes::golden;
use tamis_e2e::tamis;

#[test]
fn a_version_that_exists_and_one_that_no_proxy_reports_yet_say_what_to_do() {
    let (plane, registry, _gateway, _) = Plane::running(|_| ());
    let second = registry.release(2);
    let mut wrong = Vec::new();

    let brittle = guests::brittle().display().to_string();
    let line = ["filter", "sign", &brittle, "--name", "test/guest", "--version", "2.0.0"];
    let more = ["--key", ".tamis/keys/local-dev.key", "--store", "other", "--output", "json"];
    let signed = json(&tamis(plane.folder.path(), &[&line[..], &more].concat()));
    let pushed = registry.tells(&["filter", "push", signed["file"].as_str().unwrap()]);
    assert!(!pushed.status.success(), "{}", said(&pushed));
    let url = format!("http://{}", registry.admin().0);
    golden("push-of-other-bytes", &said(&pushed).replace(&url, "REGISTRY"), &mut wrong);

    // The proxy is connected, and receives nothing more.
    plane.relay.hold(true);
    registry.pin(2);
    registry.slot(EDGE, SLOT, "is pending", |slot| slot["state"] == "pending");
    let status = said(&registry.tells(&["status", "--problems"]));
    // The number of the revision below depends on how often proxies reported.
    let problems = status.split("\n\n").next().unwrap();
    golden("pending", &format!("{problems}\n"), &mut wrong);
    plane.relay.hold(false);
    registry.serves(EDGE, SLOT, &second);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
