//! `tamis filter run`: a filter serves while it is written.

use serde_json::Value;
use std::fs;
use tamis_e2e::{RunningProcess, eventually, free_port, request, tamis};

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
    fs::write(&code, sound.replace("reply(403)", "reply(451)")).unwrap();
    becomes(451);
    fs::write(&code, sound.replace("reply(403)", "reply(")).unwrap();
    running.event("the build fails", |event| event["event"] == "build-failed");
    assert_eq!(ask("bad/1"), 451, "the last good one keeps serving");
    let before = states(&running, "filter");
    fs::write(&code, &sound).unwrap();
    becomes(403);
    eventually("the new build is reported", || (states(&running, "filter") > before).then_some(()));
    assert!(running.end("-INT").success());
}
