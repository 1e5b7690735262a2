//! The life of a filter, command by command.

use serde_json::Value;
use std::path::Path;
use tamis_e2e::{Backend, Folder, get, request, tamis};
use tempfile::TempDir;

fn run(folder: &Path, arguments: &[&str]) -> String {
    let done = tamis(folder, arguments);
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{arguments:?}: {out}{err}");
    out
}

#[test]
fn a_new_filter_builds_passes_its_tests_is_signed_and_refuses_a_request() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    let gateway = folder.start(&[]);
    let here = folder.path();
    run(here, &["filter", "new", "agents"]);
    let tested = run(here, &["filter", "test", "agents"]);
    assert!(tested.contains("4 cases passed"), "{tested}");
    let component = "agents/target/agents.wasm";
    let text =
        run(here, &["filter", "inspect", component, "--config", r#"{"blocked":[]}"#, "--json"]);
    let inspected: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(inspected["hooks"], serde_json::json!(["request"]));
    assert_eq!(inspected["imports"], serde_json::json!(["log"]));
    assert_eq!(inspected["declared"]["reads"], serde_json::json!(["user-agent"]));
    assert_eq!(inspected["declared"]["writes"], serde_json::json!(["x-policy"]));

    run(
        here,
        &[
            "filter",
            "sign",
            component,
            "--name",
            "acme/agents",
            "--version",
            "0.1.0",
            "--key",
            ".tamis/keys/local-dev.key",
            "--store",
            ".tamis/store",
            "--pin",
            ".tamis/filters.lock.yaml",
        ],
    );
    folder.attach(
        "agents",
        "acme/agents",
        "{ blocked: [curl/7] }",
        "  request: { readHeaders: [user-agent], writeHeaders: [x-policy] }\n  imports: { log: {} }",
        "",
    );
    folder.slot_state("test/agents", "serving");
    let reply = request(&folder.http, "GET", "/", &[("user-agent", "curl/7.1")], b"");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (403, Some("agents.blocked")));
    assert_eq!(get(&folder.http, "/").status, 200);
    let seen = backend.last().unwrap();
    assert!(seen.headers.contains(&("x-policy".to_owned(), "agents".to_owned())), "{seen:?}");
    drop(gateway);
}

/// For each world as the tutorial does for one. The dependencies of filters are compiled once for all.
#[test]
fn a_new_filter_of_every_world_builds_and_passes_its_cases() {
    let folder = TempDir::new().unwrap();
    let help = run(folder.path(), &["filter", "new", "--help"]);
    let worlds = [
        "authorizer",
        "refreshing-authorizer",
        "head-policy",
        "transformer",
        "route-policy",
        "retry-policy",
        "hedge-policy",
        "breaker-policy",
        "balance-policy",
        "telemetry-policy",
        "connection-policy",
        "metering-policy",
    ];
    for world in worlds {
        assert!(help.contains(world), "{world}: {help}");
        let name = format!("my-{world}");
        run(folder.path(), &["filter", "new", &name, "--world", world]);
        let done = std::process::Command::new(tamis_e2e::root().join("target/debug/tamis"))
            .args(["filter", "test", &name])
            .current_dir(folder.path())
            .env("CARGO_TARGET_DIR", tamis_e2e::root().join("target/guests"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && said.contains("cases passed"), "{world}: {said}{err}");
    }
}

#[test]
fn a_failing_case_says_what_was_expected_and_what_came() {
    let folder = TempDir::new().unwrap();
    run(folder.path(), &["filter", "new", "agents"]);
    let cases = folder.path().join("agents/tests/cases.yaml");
    let text = std::fs::read_to_string(&cases).unwrap();
    std::fs::write(&cases, text.replace("status: 403", "status: 418")).unwrap();
    let done = tamis(folder.path(), &["filter", "test", "agents"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(!done.status.success());
    assert!(said.contains("✗ a blocked agent is refused"), "{said}");
    assert!(said.contains("expected the answer 418, got 403"), "{said}");
}

#[test]
fn keys_sign_and_verify_and_refusals_name_their_rule() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    run(here, &["keys", "generate", "release"]);
    run(here, &["keys", "generate", "other"]);
    let again = tamis(here, &["keys", "generate", "release"]);
    assert!(!again.status.success(), "a key is never overwritten");
    let guest = crate::guests::behaviour().display().to_string();
    run(
        here,
        &[
            "filter",
            "sign",
            &guest,
            "--name",
            "acme/guest",
            "--version",
            "1.2.3",
            "--key",
            "release.key",
            "--store",
            "store",
        ],
    );
    let file = "store/acme-guest-1.2.3.wasm";
    let said = run(here, &["filter", "verify", file, "--key", "release.pub"]);
    assert!(said.contains("acme/guest 1.2.3 may run") && said.contains("release"), "{said}");
    let refused =
        tamis(here, &["filter", "verify", file, "--key", "other.pub", "--output", "json"]);
    assert!(!refused.status.success());
    let value: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(value["code"], "trust.unknown-key");
    let wrong =
        tamis(here, &["filter", "verify", file, "--key", "release.pub", "--name", "acme/else"]);
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("trust.wrong-name"));
}

#[test]
fn the_exit_code_says_whether_a_component_may_do_more_than_the_one_before() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let before = crate::guests::behaviour().display().to_string();
    let after = crate::guests::traffic().display().to_string();
    std::fs::write(here.join("config.json"), r#"{"do":"edit","writes":["x-path"]}"#).unwrap();
    let config = ["--config", "config.json"];
    let said = run(here, &[&["filter", "diff", &before, &before][..], &config].concat());
    assert!(said.contains("nothing more than before"), "{said}");
    let line = ["filter", "diff", &before, &after, "--output", "json"];
    let done = tamis(here, &[&line[..], &config].concat());
    assert_eq!(done.status.code(), Some(3));
    let value: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value["grows"], true);
    let hedge = serde_json::json!({ "kind": "hook", "what": "hedge" });
    assert!(value["gained"].as_array().unwrap().contains(&hedge), "{value}");
    let failed = tamis(here, &["filter", "diff", &before, "nowhere.wasm"]);
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn a_filter_that_needs_a_grant_in_its_self_test_is_inspected_and_compared_under_one() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let guest = crate::guests::behaviour().display().to_string();
    let write = |name: &str, text: &str| std::fs::write(here.join(name), text).unwrap();
    let config = r#"{"do":"quota-always","reads":[":path"]}"#;
    write("config.json", config);
    let grant = |classes: &str| {
        format!(
            "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: guest, namespace: security }}\nspec:\n  filter: acme/guest\n{}\n  imports: {{ clock: {{}}, counters: {{}}, http-client: {{ hosts: [] }}, kv: {{}}, log: {{}}, metrics: {{}}, quota: {{ classes: {classes} }}, records: {{}} }}\n",
            "  request: { readHeaders: [\":path\"], attributes: [\"*\"] }"
        )
    };
    write("grant.yaml", &grant("{ per-key: { rate: 1/s, burst: 1 } }"));
    write("without.yaml", &grant("{}"));
    let declared = |arguments: &[&str]| {
        let line = ["filter", "inspect", &guest, "--config", config, "--json"];
        let done = tamis(here, &[&line[..], arguments].concat());
        let found = serde_json::from_slice::<Value>(&done.stdout).unwrap()["declared"].clone();
        assert_eq!(done.status.success(), found["error"].is_null(), "{arguments:?}: {found}");
        found
    };
    for arguments in [&[][..], &["--grant", "grant.yaml"]] {
        let found = declared(arguments);
        assert_eq!(found["reads"], serde_json::json!([":path"]), "{arguments:?}: {found}");
    }
    let error =
        declared(&["--grant", "without.yaml"])["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("no quota class `per-key`"), "{error}");

    // Another component that does the same: one byte more, in a section that says nothing.
    let mut other = std::fs::read(&guest).unwrap();
    other.extend([0, 3, 1, b'v', 2]);
    std::fs::write(here.join("other.wasm"), other).unwrap();
    let diff = |arguments: &[&str]| {
        let line = ["filter", "diff", &guest, "other.wasm", "--config", "config.json"];
        let done = tamis(here, &[&line[..], arguments].concat());
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.code(), said + &String::from_utf8_lossy(&done.stderr))
    };
    for arguments in [&[][..], &["--grant", "grant.yaml"]] {
        let (code, said) = diff(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        assert!(said.contains("nothing more than before"), "{arguments:?}: {said}");
    }
    let (code, said) = diff(&["--grant", "without.yaml"]);
    assert!(code == Some(3) && said.contains("without.yaml"), "{code:?}: {said}");

    // A table without `grant` gives everything; one that gives no class says which is missing.
    let test = |grant: &str| {
        let cases = "cases: [{ name: a, expect: { answer: { status: 200, body: 'true' } } }]\n";
        write("cases.yaml", &format!("config: {config}\n{grant}{cases}"));
        let done = tamis(here, &["filter", "test", "--component", &guest, "--cases", "cases.yaml"]);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.success(), said + &String::from_utf8_lossy(&done.stderr))
    };
    let (passed, said) = test("");
    assert!(passed, "{said}");
    let imports = "clock: {}, counters: {}, http-client: { hosts: [] }, kv: {}, log: {}, metrics: {}, records: {}";
    for (classes, passes) in [("per-key: { rate: 1/s, burst: 5 }", true), ("", false)] {
        let grant = format!(
            "grant: {{ request: {{ readHeaders: [':path'] }}, imports: {{ {imports}, quota: {{ classes: {{ {classes} }} }} }} }}\n"
        );
        let (passed, said) = test(&grant);
        assert_eq!(passed, passes, "{classes}: {said}");
        assert!(passes || said.contains("no quota class `per-key`"), "{said}");
    }
}
