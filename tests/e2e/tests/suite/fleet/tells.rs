//! `status` reports everything that the fleet knows, and a restored registry recovers.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tamis_e2e::{RunningProcess, eventually, request, tamis};
use tamis_resources::CONFIG_REMEDY;

use super::plane::{EDGE, Plane, Registry, SLOT, json, said};

fn proxy(registry: &Registry, is: impl Fn(&Value) -> bool) -> Value {
    eventually("the proxy is like that", || {
        let status = registry.did(&["status"]);
        let proxies = status["proxies"].as_array()?;
        proxies.iter().find(|one| one["node"] == EDGE && is(one)).cloned()
    })
}

fn condition(registry: &Registry, kind: &str) -> Value {
    let gateway = registry.did(&["describe", "gateway", "edge", "-n", "test"]);
    let conditions = gateway["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["type"] == kind).unwrap().clone()
}

/// How many slots the registry's metrics count in each state.
fn slot_counts(registry: &Registry) -> Vec<(String, usize)> {
    let (address, token) = registry.admin();
    let page = request(&address, "GET", "/metrics", &[("authorization", &token)], b"");
    assert_eq!(page.status, 200, "{}", page.body);
    let rows = page.body.lines().filter_map(|line| {
        let line = line.strip_prefix("tamis_registry_slots{state=\"")?;
        let (state, count) = line.split_once("\"} ")?;
        Some((state.to_owned(), count.parse().unwrap()))
    });
    rows.collect()
}

#[test]
fn a_refusal_comes_whole_from_the_proxy_to_status_and_describe() {
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    // Whoever refuses: the rule, who set it and the way out arrive as the proxy wrote them.
    for (does, code, rule, set_by, remedy) in [
        (
            "refuse",
            "filter.configure",
            "filter `test/guest` refuses its configuration: /do: `refuse` is never accepted",
            "the filter",
            CONFIG_REMEDY,
        ),
        (
            "trap-always",
            "filter.selftest",
            "`test/guest` failed its self-test (a call of each hook before it serves) in `on-request`: it stopped with the trap `unreachable`; a panic ends like that: to see its message and line, call `tamis_sdk::log_panics()` first in `configure` (Rust), or log an error before the place that you suspect; both need `log: {}` under `imports` of its Grant",
            "its self-test",
            "correct the filter, or pin another version",
        ),
    ] {
        plane.folder.edit("guest.yaml", "do: edit", &format!("do: {does}"));
        registry.did(&["apply", "-f", ".", "--confirm"]);
        registry.keeps(EDGE, SLOT, &first, code);
        let slot = registry
            .slot(EDGE, SLOT, &format!("is refused: {does}"), |one| one["refusal"]["rule"] == rule);
        let whole = json!({ "code": code, "rule": rule, "setBy": set_by, "remedy": remedy });
        assert_eq!(slot["refusal"], whole, "{does}");
        assert_eq!(slot["running"]["digest"], first.as_str(), "{does}: what ran goes on");
        // The same state at the proxy's own listener.
        let own = plane.slot_says(SLOT, &format!("refused:{code}"));
        // That its self-test says so stands in the rule.
        let by = if set_by == "the filter" { " (rule of the filter)" } else { "" };
        let detail = format!("{rule}{by}; {remedy}. Version 1.0.0 keeps serving");
        assert_eq!(own["detail"], detail.as_str(), "{does}");
        let programmed = condition(&registry, "Programmed");
        assert_eq!(programmed["status"], false, "{does}: {programmed}");
        assert_eq!(programmed["reason"], code, "{does}: {programmed}");
        let message = programmed["message"].as_str().unwrap();
        assert!(message.contains(rule) && message.contains(remedy), "{does}: {message}");
        plane.folder.edit("guest.yaml", &format!("do: {does}"), "do: edit");
        registry.did(&["apply", "-f", ".", "--confirm"]);
        registry.serves(EDGE, SLOT, &first);
    }
}

#[test]
fn problems_of_a_proxy_travel_to_status_and_its_end_is_disconnected_since() {
    let (plane, registry, gateway, _) = Plane::running(|_| ());
    let well = proxy(&registry, |one| one["connected"] == true);
    assert!(well["problems"].is_null(), "{well}");
    assert_eq!(condition(&registry, "Programmed")["status"], true);
    // A certificate of a listener that is named but missing: the previous one stays in use.
    plane.folder.edit("mesh.yaml", "certs/server.crt", "certs/nowhere.crt");
    registry.did(&["apply", "-f", ".", "--confirm"]);
    let wrong =
        proxy(&registry, |one| one["problems"].as_array().is_some_and(|all| !all.is_empty()));
    let message = wrong["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("nowhere.crt"), "{message}");
    let problems = registry.did(&["status", "--problems"]);
    assert_eq!(problems["proxies"][0]["node"], EDGE, "{problems}");
    let programmed = condition(&registry, "Programmed");
    assert!(programmed["message"].as_str().unwrap().contains("nowhere.crt"), "{programmed}");
    plane.folder.edit("mesh.yaml", "certs/nowhere.crt", "certs/server.crt");
    registry.did(&["apply", "-f", ".", "--confirm"]);
    proxy(&registry, |one| one["problems"].is_null());

    gateway.end("-KILL");
    let gone = proxy(&registry, |one| one["connected"] == false);
    assert!(gone["disconnectedMs"].as_u64().is_some_and(|since| since > 0), "{gone}");
    let slots = gone["slots"].as_array().unwrap();
    assert!(slots.iter().all(|slot| slot["state"] == "disconnected"), "{gone}");
    // The metrics count the same slots under the same word, and under no other.
    let counts = slot_counts(&registry);
    let counted = |word: &str| counts.iter().find(|(state, _)| state == word).map(|one| one.1);
    assert_eq!(counted("disconnected"), Some(slots.len()), "{counts:?}");
    assert_eq!(counts.iter().map(|one| one.1).sum::<usize>(), slots.len(), "{counts:?}");
    assert_eq!(condition(&registry, "Programmed")["reason"], "Disconnected");
    // It is also recorded: a registry that restarts still knows it.
    let entry = eventually("the end is in the journal", || {
        let log = registry.ask(&["audit", "log", "--after", "0"]);
        let text = String::from_utf8_lossy(&log.stdout).into_owned();
        text.lines()
            .find(|line| line.contains("node-connections") && line.contains("left"))
            .map(str::to_owned)
    });
    assert!(entry.contains(EDGE), "{entry}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_registry_restored_from_an_older_backup_leads_its_proxies_again_once_somebody_agrees() {
    for by_command in [true, false] {
        let (plane, registry, _gateway, first) = Plane::running(|_| ());
        let second = registry.release(2);
        let (data, backup) = (plane.folder.file("data"), plane.folder.file("backup"));
        plane.relay.cut();
        registry.end();
        copy(&data, &backup);
        // Changes after the backup: the proxy sees higher versions.
        let later = plane.registry("data", &[]);
        plane.relay.to(&[&later.proxies]);
        later.pin(2);
        later.serves(EDGE, SLOT, &second);
        plane.relay.cut();
        later.end();
        fs::remove_dir_all(&data).unwrap();
        copy(&backup, &data);
        let arguments: &[&str] = if by_command { &[] } else { &["--restored"] };
        let restored = plane.registry("data", arguments);
        plane.relay.to(&[&restored.proxies]);
        if by_command {
            // Stranded; the detail states what to do.
            let slot = restored
                .slot(EDGE, SLOT, "is stranded", |one| one["refusal"]["code"] == "assign.rollback");
            assert!(slot["why"].as_str().unwrap().contains("tamis reassign"), "{slot}");
            let done = restored.did(&["reassign", "--reason", "restored"]);
            assert_eq!(done["epoch"], 1, "{done}");
        }
        restored.serves(EDGE, SLOT, &first);
        assert!(plane.edited("/restored"));
    }
}

/// The output of a registry that does not start.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let all = [&["registry", "--listen", "127.0.0.1:0"], arguments].concat();
    let done = tamis(folder, &all);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    let text = said(&done);
    // What takes longer than a second says so before.
    assert_eq!(text.lines().filter(|line| !line.starts_with('…')).count(), 1, "{text}");
    said(&done)
}

#[test]
fn replicas_that_are_started_wrongly_do_not_start_and_name_the_way_out() {
    let (plane, registry, gateway, _) = Plane::running(|_| ());
    gateway.end("-INT");
    registry.end();
    let path = plane.folder.path();
    let data = plane.folder.file("data");
    // Without the keys of the journal.
    for key in ["director.key", "log.key"] {
        let kept = fs::read(data.join(key)).unwrap();
        fs::remove_file(data.join(key)).unwrap();
        let words = refused(path, &["--data", "data"]);
        assert!(words.contains(key) && words.contains("copy director.key and log.key"), "{words}");
        assert!(!data.join(key).exists(), "nothing was made");
        fs::write(data.join(key), kept).unwrap();
    }
    // With another director's key.
    let other = plane.folder.file("other");
    let running =
        RunningProcess::start(path, &["registry", "--data", "other", "--listen", "127.0.0.1:0"]);
    running.event("it serves", |event| event["event"] == "ready");
    running.end("-INT");
    let kept = fs::read(data.join("director.key")).unwrap();
    fs::copy(other.join("director.key"), data.join("director.key")).unwrap();
    let words = refused(path, &["--data", "data"]);
    assert!(words.contains("did not sign") && words.contains("--make-new-keys"), "{words}");
    fs::write(data.join("director.key"), kept).unwrap();
    // Without the blobs.
    fs::rename(data.join("blobs"), plane.folder.file("blobs-elsewhere")).unwrap();
    let words = refused(path, &["--data", "data"]);
    assert!(words.contains("--blobs"), "{words}");
    fs::remove_dir_all(data.join("blobs")).unwrap();
    fs::rename(plane.folder.file("blobs-elsewhere"), data.join("blobs")).unwrap();
    // With an object store where nobody listens.
    plane.folder.write("objects", "aws_endpoint=http://127.0.0.1:9\nallow_http=true\naws_region=x\naws_access_key_id=a\naws_secret_access_key=b\n");
    let words = refused(
        path,
        &["--data", "fresh", "--blobs", "s3://tamis/x", "--blobs-options", "objects"],
    );
    assert!(words.contains("s3://tamis/x") && words.contains("--blobs-options"), "{words}");
    // With the right arguments, it starts.
    plane.registry("data", &[]).end();
}

#[test]
fn a_document_has_a_history_and_a_way_back_and_an_end() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    plane.folder.edit("guest.yaml", "do: edit", "do: pass");
    let differs = registry.ask(&["diff", "-f", "."]);
    assert_eq!(differs.status.code(), Some(1), "{}", said(&differs));
    let lines = json(&differs);
    let lines = lines.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
    assert!(lines.contains("- ") && lines.contains("+ ") && lines.contains("do: pass"), "{lines}");
    let planned = registry.did(&["plan", "-f", "."]);
    let fields = &planned["diff"]["documents"][0]["fields"];
    assert_eq!(
        (&fields[0]["field"], &fields[0]["before"], &fields[0]["after"]),
        (&"spec.config.do".into(), &"edit".into(), &"pass".into())
    );
    let applied = registry.did(&["apply", "-f", ".", "--confirm"]);
    let key = planned["diff"]["documents"][0]["key"].as_str().unwrap().to_owned();
    let name = key.rsplit('/').next().unwrap();
    let history = |what: &[&str]| {
        registry.did(&[&["history"], what].concat())["items"].as_array().unwrap().clone()
    };
    let document = ["filterattachment", name, "-n", "test"];
    assert_eq!(history(&document).len(), 2);
    // It is also in the history of the service.
    let of_service = history(&["test/edge"]);
    assert!(
        of_service.iter().any(|one| one["document"] == key.as_str()
            && one["what"].as_str().unwrap().contains("edit → pass")),
        "{of_service:?}"
    );
    let back = registry.did(&[&["rollback"], &document[..], &["--confirm"]].concat());
    assert!(back["revision"].as_u64() > applied["revision"].as_u64());
    let versions = history(&document);
    assert_eq!(versions[2]["backTo"], versions[0]["revision"], "{versions:?}");
    let (code, words) = {
        let done = registry.ask(&["delete", "filterattachment", "gest", "-n", "test"]);
        (done.status.code(), said(&done))
    };
    assert!(code == Some(4) && words.contains("did you mean"), "{words}");
    registry.did(&[&["delete"], &document[..], &["--confirm"]].concat());
    assert!(history(&document)[3]["digest"].is_null());
    let gone = registry.ask(&[&["get"], &document[..]].concat());
    assert_eq!(gone.status.code(), Some(4), "{}", said(&gone));
    // `who-ran` of an unknown service is an error that lists the known ones.
    let unknown = registry.ask(&["audit", "who-ran", "test/egde"]);
    assert!(
        unknown.status.code() == Some(4) && said(&unknown).contains("test/edge"),
        "{}",
        said(&unknown)
    );
}
