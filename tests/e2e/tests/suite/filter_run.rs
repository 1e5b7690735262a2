//! `tamis filter run`: a filter serves while it is written.

use crate::guests::{self, GRANT};
use crate::mistakes::golden;
use serde_json::Value;
use std::fs;
use tamis_e2e::{RunningProcess, eventually, free_port, request, root, tamis};

fn states(running: &RunningProcess, kind: &str) -> usize {
    running.events().iter().filter(|event| event["event"] == kind).count()
}

#[test]
fn a_saved_filter_serves_and_a_build_that_fails_leaves_the_last_good_one() {
    let folder = tempfile::TempDir::new().unwrap();
    assert!(tamis(folder.path(), &["filter", "new", "agents"]).status.success());
    let port = free_port();
    // A folder of its own: two packages of one name share what is built in a common one.
    let (line, target) = (port.to_string(), folder.path().join("target"));
    let running = RunningProcess::start_as(
        folder.path(),
        &["filter", "run", "agents", "--port", &line],
        &[("CARGO_TARGET_DIR", &target)],
    );
    running.event("the filter serves", |event| {
        event["event"] == "filter" && event["state"] == "serving"
    });
    let address = format!("127.0.0.1:{port}");
    let ask = |agent: &str| request(&address, "GET", "/a", &[("user-agent", agent)], b"").status;
    let becomes = |status: u16| {
        eventually(&format!("a blocked agent gets {status}"), || {
            (ask("bad/1") == status).then_some(())
        });
    };
    becomes(403);
    assert_eq!(ask("good/1"), 200, "the sample service answers");
    let record = |event: &Value| event["record"]["reason"] == "agents.blocked";
    let seen = running.event("the decision is shown", record);
    assert_eq!(seen["record"]["status"], 403);

    let code = folder.path().join("agents/src/lib.rs");
    let sound = fs::read_to_string(&code).unwrap();
    let printing = sound.replace("reply(403)", "{ println!(\"blocked\"); reply(451) }");
    fs::write(&code, printing).unwrap();
    becomes(451);
    let errors = running.errors();
    let noted = errors.lines().find(|line| line.contains("println!")).unwrap_or_default();
    let mut wrong = Vec::new();
    golden("println", &format!("{noted}\n"), &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    fs::write(&code, sound.replace("reply(403)", "reply(")).unwrap();
    running.event("the build fails", |event| event["event"] == "build-failed");
    assert_eq!(ask("bad/1"), 451, "the last good one keeps serving");
    let before = states(&running, "filter");
    fs::write(&code, &sound).unwrap();
    becomes(403);
    eventually("the new build is reported", || (states(&running, "filter") > before).then_some(()));
    assert!(running.end("-INT").success());
}

#[test]
fn a_component_that_other_tools_write_serves_and_is_read_again_when_it_is_written() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = "name: acme/guest\nversion: 0.1.0\nworld: everything\n";
    fs::write(folder.path().join("filter.yaml"), text).unwrap();
    let grant = format!(
        "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: guest, namespace: test }}\nspec:\n  \
         filter: acme/guest\n{GRANT}\n"
    );
    fs::write(folder.path().join("grant.yaml"), grant).unwrap();
    let component = folder.path().join("target/guest.wasm");
    fs::create_dir_all(component.parent().unwrap()).unwrap();
    let sound = fs::read(guests::behaviour()).unwrap();
    fs::write(&component, &sound).unwrap();
    let port = free_port();
    let (line, config) = (port.to_string(), "{\"do\":\"pass\"}");
    let running = RunningProcess::start_as(
        folder.path(),
        &["filter", "run", "--component", "target/guest.wasm", "--port", &line, "--config", config],
        &[],
    );
    running.event("the filter serves", |event| {
        event["event"] == "filter" && event["state"] == "serving"
    });
    let address = format!("127.0.0.1:{port}");
    let status = || request(&address, "GET", "/a", &[], b"").status;
    assert_eq!(status(), 200, "the sample service answers");
    fs::write(&component, "no component").unwrap();
    running.event("what was written is refused", |event| event["event"] == "build-failed");
    assert_eq!(status(), 200, "the last good one keeps serving");
    let before = states(&running, "filter");
    fs::write(&component, &sound).unwrap();
    eventually("it is read again", || (states(&running, "filter") > before).then_some(()));
    assert_eq!(status(), 200);
    assert!(running.end("-INT").success());
}

#[test]
fn a_filter_in_python_passes_the_table_of_every_language_and_serves() {
    let component = root().join("target/guests/header-policy-python.wasm");
    assert!(
        component.is_file(),
        "there is no {}: run `cargo xtask guests python`",
        component.display()
    );
    let component = component.to_str().unwrap();
    let table = root().join("tests/guests/header-policy.yaml");
    let folder = tempfile::TempDir::new().unwrap();
    let test = ["filter", "test", "--component", component, "--cases", table.to_str().unwrap()];
    let tested = tamis(folder.path(), &[&test[..], &["--output", "json"]].concat());
    let report: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert!(tested.status.success() && report["failed"] == 0, "{report}");
    assert!(report["tables"][0]["cases"].as_array().unwrap().len() > 10, "{report}");

    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("filter.yaml", "name: acme/header-policy\nversion: 0.1.0\nworld: head-policy\n");
    write(
        "grant.yaml",
        "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: python, namespace: test }\nspec:\n  \
         filter: acme/header-policy\n  imports: { log: {}, metrics: {}, clock: {} }\n  \
         request: { readHeaders: [x-tenant, user-agent], writeHeaders: [x-policy] }\n  \
         response: { writeHeaders: [x-policy-version] }\n  limits: { memory: 48MiB, time: 1s, configure: 60s }\n",
    );
    let config = r#"{"require":["x-tenant"],"set":{"x-policy":"7"},"denyAgents":["curl/7"]}"#;
    let port = free_port().to_string();
    let run = ["filter", "run", "--component", component, "--port", &port, "--config", config];
    let running = RunningProcess::start(folder.path(), &run);
    running.event("the filter serves", |event| {
        event["event"] == "filter" && event["state"] == "serving"
    });
    let address = format!("127.0.0.1:{port}");
    let ask = |fields: &[(&str, &str)]| request(&address, "GET", "/a", fields, b"");
    let passed = ask(&[("x-tenant", "a"), ("x-policy", "forged")]);
    assert_eq!(passed.status, 200, "{}", passed.body);
    assert_eq!(passed.header("x-policy-version"), Some("1"));
    for (fields, status, reason) in [
        (&[("accept", "*/*")][..], 400, "header-policy.missing"),
        (&[("x-tenant", "a"), ("user-agent", "curl/7.88.1")], 403, "header-policy.agent"),
    ] {
        let refused = ask(fields);
        assert_eq!((refused.status, refused.header("x-tamis-reason")), (status, Some(reason)));
    }
    assert!(running.end("-INT").success());
}
