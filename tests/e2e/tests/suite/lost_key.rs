//! A signing key is lost: one command puts another in its place, and stops wherever it would break something.

use serde_json::Value;
use tamis_e2e::tamis;

use crate::control::{Plane, json, said};

#[test]
fn a_lost_key_is_replaced_by_one_command_that_stops_where_somebody_is_needed() {
    let plane = Plane::ready(&[]);
    let made = tamis(plane.folder.path(), &["keys", "generate", "release-2"]);
    assert!(made.status.success(), "{}", said(&made));
    let unsure =
        ["keys", "replace", "local-dev", "--with", "release-2.key", "--reason", "laptop stolen"];
    let command = [&unsure[..], &["--stolen-since", "now"]].concat();
    let filters = |value: &Value| -> Vec<String> {
        let all = value["signed"].as_array().unwrap().iter();
        all.map(|one| one["filter"].as_str().unwrap().to_owned()).collect()
    };
    let revocations = || plane.did(&["revoke", "list"])["items"].as_array().unwrap().len();
    let pins = plane.did(&["pins"]);

    // Whoever has the key may have pinned what is pinned: nobody says that it was in force before.
    for since in [&[][..], &["--stolen-since", "1h"]] {
        let asked = plane.ask(&[&unsure[..], since].concat());
        assert_eq!(asked.status.code(), Some(3), "{}", said(&asked));
        let asked = json(&asked);
        assert_eq!(filters(&asked), Vec::<String>::new(), "{asked}");
        let unproven = asked["unproven"].as_array().unwrap();
        assert_eq!(unproven.len(), 4, "{asked}");
        assert!(unproven.iter().all(|one| one["pins"][0]["actor"].is_string()), "{asked}");
        assert_eq!(asked["revoked"], false, "{asked}");
    }
    let unknown = format!("sha256:{}", "0".repeat(64));
    let (_, error) = plane.failed(&[&unsure[..], &["--sign", &unknown]].concat());
    assert!(error.contains("nothing that is pinned or runs"), "{error}");
    // One of them somebody knows.
    let known = pins["items"][0]["digest"].as_str().unwrap();
    let one = plane.did(&[&unsure[..], &["--sign", known, "--dry-run"]].concat());
    assert_eq!(filters(&one).len(), 1, "{one}");
    assert_eq!(one["unproven"].as_array().unwrap().len(), 3, "{one}");

    // It shows what it would do, and does nothing.
    let dry = plane.did(&[&command[..], &["--dry-run"]].concat());
    assert_eq!(filters(&dry).len(), 4, "{dry}");
    assert_eq!(dry["revoked"], false, "{dry}");
    // With the lost key itself it begins nothing.
    let mut itself = command.clone();
    itself[4] = ".tamis/keys/local-dev.key";
    let (_, error) = plane.failed(&itself);
    assert!(error.contains("is the lost key itself"), "{error}");

    // It signs again, and stops: nobody trusts the new key.
    let done = plane.ask(&command);
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    let stopped = json(&done);
    assert_eq!(filters(&stopped), filters(&dry), "{stopped}");
    assert_eq!((revocations(), &stopped["revoked"]), (0, &Value::Bool(false)));
    assert!(!stopped["stops"].as_array().unwrap().is_empty(), "{stopped}");

    // Both keys count for a while.
    let key = "keys: [{ name: local-dev, publicKeyFile: .tamis/keys/local-dev.pub }";
    let both = format!("{key}, {{ name: release-2, publicKeyFile: release-2.pub }}");
    plane.folder.edit("mesh.yaml", key, &both);
    let grows = plane.ask(&["apply", "-f", ".", "--confirm"]);
    if !grows.status.success() {
        // Who is trusted grows: somebody else agrees.
        let bob = crate::control::token(&plane, "bob", &["observe", "approve"]);
        let subject = json(&grows)["problem"]["subject"].as_str().unwrap().to_owned();
        plane.did(&["approve", &subject, "--token-file", &bob]);
        plane.did(&["apply", "-f", ".", "--confirm"]);
    }
    let finished = plane.did(&command);
    assert_eq!(
        filters(&finished),
        Vec::<String>::new(),
        "what is signed is left alone: {finished}"
    );
    assert_eq!((revocations(), &finished["revoked"]), (1, &Value::Bool(true)));

    // What ran runs on, by the new key alone: a proxy that starts now takes it.
    assert_eq!(plane.did(&["pins"]), pins);
    let route = pins["items"].as_array().unwrap().iter();
    let route = route.clone().find(|pin| pin["filter"] == "tamis/route").unwrap();
    let gateway = plane.gateway();
    plane.serves("test/route", route["digest"].as_str().unwrap());
    // What only the lost key signs is not taken any more.
    let retry = pins["items"].as_array().unwrap().iter();
    let retry = retry.clone().find(|pin| pin["filter"] == "tamis/retry").unwrap();
    let digest = retry["digest"].as_str().unwrap();
    let pulled =
        plane.did(&["filter", "pull", &format!("tamis/retry@{digest}"), "--store", "back"]);
    plane.release(pulled["file"].as_str().unwrap(), "tamis/retry", "9.0.0");
    let (code, error) = plane.failed(&["pin", "*", "tamis/retry@9.0.0", "--confirm"]);
    assert!(code == 3 && error.contains("trust.revoked-key"), "{code}: {error}");
    gateway.end("-INT");
}
