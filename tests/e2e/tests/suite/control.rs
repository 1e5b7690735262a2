//! The control plane from a terminal: documents in force, pins, rollouts, revocations, and the proof of
//! what ran.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tamis_e2e::{Backend, Folder, FolderOptions, RunningProcess, eventually, get, tamis};

/// A folder with a gateway that has an identity, and a registry that its proxies can follow.
pub(crate) struct Plane {
    pub(crate) folder: Folder,
    running: RunningProcess,
    address: String,
    proxies: String,
    director: String,
    _backend: Backend,
}

const IDENTITY: &str = "  identity: spiffe://test.example/gateway/edge\n  \
    tls: { certificate: .tamis/certs/edge.crt, key: .tamis/certs/edge.key, ca: .tamis/certs/ca.crt }\n";

impl Plane {
    /// Starts it with nothing in force.
    fn start(arguments: &[&str]) -> Self {
        let backend = Backend::start();
        let folder = Folder::gateway_with(
            &[backend.address],
            &FolderOptions { gateway: IDENTITY, ..FolderOptions::default() },
        );
        let made = tamis(
            folder.path(),
            &[
                "keys",
                "certificate",
                "registry",
                "--authority",
                ".tamis/certs/ca.crt",
                "--id",
                "spiffe://test.example/registry",
                "--host",
                "127.0.0.1",
            ],
        );
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (running, ready) = serve(folder.path(), arguments);
        let word = |name: &str| ready[name].as_str().unwrap().to_owned();
        let (address, proxies) = (word("address"), word("proxies"));
        let director = word("directorKeys");
        Self { folder, running, address, proxies, director, _backend: backend }
    }

    /// The same with the documents in force and the built-in filters pushed and pinned for all.
    pub(crate) fn ready(arguments: &[&str]) -> Self {
        let plane = Self::start(arguments);
        plane.did(&["apply", "-f", "."]);
        for name in ["route", "retry", "circuit-breaker", "telemetry"] {
            plane.push(&format!("tamis/{name}"));
        }
        plane
    }

    /// The same registry, started again.
    fn again(self, arguments: &[&str]) -> Self {
        let Self { folder, running, director, _backend, .. } = self;
        assert!(running.end("-INT").success());
        let (running, ready) = serve(folder.path(), arguments);
        let word = |name: &str| ready[name].as_str().unwrap().to_owned();
        let (address, proxies) = (word("address"), word("proxies"));
        Self { folder, running, address, proxies, director, _backend }
    }

    /// Pushes a built-in filter as it was prepared and pins it for all.
    fn push(&self, name: &str) {
        let start = format!("{}-", name.replace('/', "-"));
        let store = std::fs::read_dir(self.folder.file(".tamis/store")).unwrap();
        let mut files = store.map(|entry| entry.unwrap().path().display().to_string());
        let file = files.find(|path| {
            let file = path.rsplit('/').next().unwrap();
            let version = file.strip_prefix(&start).unwrap_or_default();
            path.ends_with(".wasm") && version.starts_with(|c: char| c.is_ascii_digit())
        });
        let pushed = self.did(&["filter", "push", &file.unwrap()]);
        let release = format!("{name}@{}", pushed["tag"].as_str().unwrap());
        self.did(&["pin", "*", &release, "--confirm"]);
    }

    /// Signs `component` as a version of a filter and pushes it; gives its digest.
    pub(crate) fn release(&self, component: &str, name: &str, version: &str) -> String {
        let folder = self.folder.path();
        let key = ".tamis/keys/local-dev.key";
        let signed = tamis(
            folder,
            &[
                "filter",
                "sign",
                component,
                "--name",
                name,
                "--version",
                version,
                "--key",
                key,
                "--store",
                "store",
                "--output",
                "json",
            ],
        );
        let signed = json(&signed);
        let pushed = self.did(&["filter", "push", signed["file"].as_str().unwrap()]);
        assert_eq!(pushed["digest"], signed["digest"]);
        pushed["digest"].as_str().unwrap().to_owned()
    }

    /// Runs a command against the registry as its admin.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let url = format!("http://{}", self.address);
        let mut all = arguments.to_vec();
        all.extend(["--registry", &url, "--output", "json"]);
        if !arguments.contains(&"--token-file") {
            all.extend(["--token-file", "data/admin.token"]);
        }
        tamis(self.folder.path(), &all)
    }

    /// The output of a command that succeeds.
    pub(crate) fn did(&self, arguments: &[&str]) -> Value {
        let done = self.ask(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", said(&done));
        json(&done)
    }

    /// The exit code and output of a command that fails.
    pub(crate) fn failed(&self, arguments: &[&str]) -> (i32, String) {
        let done = self.ask(arguments);
        assert!(!done.status.success(), "{arguments:?}: {}", said(&done));
        (done.status.code().unwrap(), said(&done))
    }

    /// A proxy that follows the registry.
    pub(crate) fn gateway(&self) -> RunningProcess {
        RunningProcess::start(
            self.folder.path(),
            &[
                "proxy",
                "--node",
                "gateway:test/edge",
                "--follow",
                &self.proxies,
                "--state",
                "state",
                "--director-keys",
                &self.director,
                "--director-id",
                "spiffe://test.example/registry",
                "--certificate",
                ".tamis/certs/edge.crt",
                "--key",
                ".tamis/certs/edge.key",
                "--ca",
                ".tamis/certs/ca.crt",
                "--cache",
                ".tamis/cache",
                "--access-log",
                "off",
                "--report-seconds",
                "1",
            ],
        )
    }

    /// Waits until the slot of an attachment runs a digest and serves.
    pub(crate) fn serves(&self, slot: &str, digest: &str) {
        let mut last = Value::Null;
        eventually(&format!("{slot} serves {digest}"), || {
            last = self.did(&["status"]);
            let proxies = last["proxies"].as_array().unwrap();
            let mut slots = proxies.iter().flat_map(|proxy| proxy["slots"].as_array().unwrap());
            let slot = slots.find(|one| one["slot"] == slot)?;
            (slot["state"] == "serving" && slot["running"]["digest"] == digest).then_some(())
        });
    }
}

fn serve(folder: &Path, arguments: &[&str]) -> (RunningProcess, Value) {
    let mut all = vec![
        "registry",
        "--data",
        "data",
        "--listen",
        "127.0.0.1:0",
        "--proxies",
        "127.0.0.1:0",
        "--proxies-certificate",
        "registry.crt",
        "--proxies-key",
        "registry.key",
        "--proxies-ca",
        ".tamis/certs/ca.crt",
    ];
    all.extend_from_slice(arguments);
    let running = RunningProcess::start(folder, &all);
    let ready = running.event("the registry serves", |event| event["event"] == "ready");
    (running, ready)
}

pub(crate) fn said(done: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    format!("{out}{err}")
}

pub(crate) fn json(done: &Output) -> Value {
    let read = serde_json::from_slice(&done.stdout);
    assert!(read.is_ok(), "{}", said(done));
    read.unwrap()
}

/// A token of another person, for everything.
pub(crate) fn token(plane: &Plane, name: &str, verbs: &[&str]) -> String {
    token_for(plane, name, "*", verbs)
}

/// The same for some repositories.
fn token_for(plane: &Plane, name: &str, repositories: &str, verbs: &[&str]) -> String {
    let mut all =
        vec!["registry", "token", "create", name, "--repository", repositories, "--data", "data"];
    verbs.iter().for_each(|verb| all.extend(["--verb", verb]));
    let made = tamis(plane.folder.path(), &all);
    assert!(made.status.success(), "{}", said(&made));
    let file = format!("{name}.token");
    plane.folder.write(&file, &String::from_utf8_lossy(&made.stdout));
    eventually("the registry knows the token", || {
        plane.ask(&["pins", "--token-file", &file]).status.success().then_some(())
    });
    file
}

#[test]
fn an_apply_does_what_its_plan_says_and_pins_go_forth_and_back() {
    let plane = Plane::start(&[]);
    let planned = plane.did(&["plan", "-f", "."]);
    assert_eq!(planned["refusals"], serde_json::json!([]));
    assert_eq!(plane.did(&["get", "all"])["items"], serde_json::json!([]));
    let applied = plane.did(&["apply", "-f", "."]);
    assert_eq!(applied["diff"], planned["diff"]);
    let again = plane.did(&["apply", "-f", "."]);
    assert_eq!(again["revision"], applied["revision"], "nothing changed");

    let described = plane.did(&["describe", "gateway", "edge", "-n", "test"]);
    assert_eq!(described["kind"], "Gateway");
    assert!(described["text"].as_str().unwrap().contains("name: edge"));
    let (code, error) = plane.failed(&["describe", "gateway", "edge"]);
    assert_eq!(code, 4, "{error}");

    plane.push("tamis/retry");
    let first = plane.did(&["pins"])["items"][0]["digest"].as_str().unwrap().to_owned();
    let pulled = plane.did(&["filter", "pull", &format!("tamis/retry@{first}"), "--store", "back"]);
    let file = pulled["file"].as_str().unwrap();
    let verified = tamis(
        plane.folder.path(),
        &["filter", "verify", file, "--key", ".tamis/keys/local-dev.pub"],
    );
    assert!(verified.status.success(), "{}", said(&verified));

    let second = plane.release(file, "tamis/retry", "9.0.0");
    let pinned = plane.did(&["pin", "*", "tamis/retry@9.0.0", "--confirm"]);
    assert_eq!(pinned["pin"]["digest"], second.as_str());
    let (code, error) = plane.failed(&["pin", "*", &format!("tamis/retry@{first}"), "--confirm"]);
    assert!(code == 3 && error.contains("older"), "{code}: {error}");
    let back = plane.did(&["rollback", "*", "tamis/retry", "--confirm"]);
    assert_eq!(back["pin"]["digest"], first.as_str());
    let history = plane.did(&["history", "*", "tamis/retry"]);
    assert_eq!(history["items"].as_array().unwrap().len(), 3, "{history}");
    plane.running.end("-INT");
}

#[test]
fn a_moved_tag_moves_nothing_and_a_version_stays_what_it_is() {
    let plane = Plane::ready(&[]);
    let before = plane.did(&["pins"]);
    let other = crate::guests::behaviour().display().to_string();
    let signed = tamis(
        plane.folder.path(),
        &[
            "filter",
            "sign",
            &other,
            "--name",
            "tamis/retry",
            "--version",
            "0.1.0",
            "--key",
            ".tamis/keys/local-dev.key",
            "--store",
            "store",
            "--output",
            "json",
        ],
    );
    let file = json(&signed)["file"].as_str().unwrap().to_owned();
    let version = before["items"].as_array().unwrap().iter();
    let version =
        version.clone().find(|pin| pin["filter"] == "tamis/retry").unwrap()["version"].clone();
    assert_eq!(version, "0.1.0", "the test writes this version again");
    let (_, error) = plane.failed(&["filter", "push", &file]);
    assert!(error.contains("0.1.0"), "{error}");
    assert_eq!(plane.did(&["pins"]), before);
}

#[test]
fn guards_ask_first_and_somebody_else_has_to_agree_where_the_rule_says_so() {
    let plane = Plane::ready(&[]).again(&["--approvals", "1"]);
    let bob = token(&plane, "bob", &["observe", "approve"]);
    std::fs::remove_file(plane.folder.file("attachments.yaml")).unwrap();
    let (code, error) = plane.failed(&["apply", "-f", ".", "--prune", "--confirm"]);
    assert!(code == 3 && error.contains("approve"), "{code}: {error}");
    let subject = plane.ask(&["plan", "-f", ".", "--prune"]);
    let subject = json(&subject)["subject"].as_str().unwrap().to_owned();
    let (code, error) = plane.failed(&["apply", "-f", ".", "--prune", "--token-file", &bob]);
    assert!(code == 1 && error.contains("bob may not"), "{code}: {error}");
    plane.did(&["approve", &subject, "--token-file", &bob]);
    let (code, error) = plane.failed(&["apply", "-f", ".", "--prune"]);
    assert!(code == 3 && error.contains("confirm"), "an emptied chain asks first: {code}: {error}");
    plane.did(&["apply", "-f", ".", "--prune", "--confirm"]);

    // A pin asks for the same agreement, of somebody who may agree to it.
    let elsewhere = token_for(&plane, "carol", "acme/*", &["observe", "approve"]);
    let pulled = plane.did(&["filter", "pull", "tamis/retry@0.1.0", "--store", "back"]);
    plane.release(pulled["file"].as_str().unwrap(), "tamis/retry", "9.0.0");
    let before = plane.did(&["pins"]);
    let pin = ["pin", "*", "tamis/retry@9.0.0", "--confirm"];
    let done = plane.ask(&pin);
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    let subject = json(&done)["problem"]["subject"].as_str().unwrap().to_owned();
    let (_, error) = plane.failed(&["approve", &subject, "--token-file", &elsewhere]);
    assert!(error.contains("carol may not approve"), "{error}");
    let (_, error) = plane.failed(&["approve", &subject]);
    assert!(error.contains("nobody may approve their own change"), "{error}");
    plane.failed(&pin);
    assert_eq!(plane.did(&["pins"]), before, "nothing was pinned");
    plane.did(&["approve", &subject, "--token-file", &bob]);
    plane.did(&pin);
    // The agreement was for that change: to go back is another.
    let (code, error) = plane.failed(&["rollback", "*", "tamis/retry", "--confirm"]);
    assert!(code == 3 && error.contains("approve"), "{code}: {error}");
}

#[test]
fn whoever_has_no_token_is_told_how_to_get_in_and_nobody_listening_is_told_too() {
    let plane = Plane::start(&[]);
    let url = format!("http://{}", plane.address);
    let done = tamis(plane.folder.path(), &["status", "--registry", &url]);
    assert!(
        done.status.code() == Some(1) && said(&done).contains("--token-file"),
        "{}",
        said(&done)
    );
    plane.running.end("-INT");
    let done = tamis(plane.folder.path(), &["status", "--registry", &url]);
    assert!(said(&done).contains("is a registry running there?"), "{}", said(&done));
    assert_eq!(said(&done).lines().count(), 1);
}

#[test]
fn the_log_is_told_and_proofs_hold_until_they_are_touched() {
    let plane = Plane::ready(&[]);
    let log = plane.ask(&["audit", "log", "--after", "0"]);
    let entries: Vec<Value> = String::from_utf8_lossy(&log.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let revisions: Vec<u64> =
        entries.iter().map(|entry| entry["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, (1..=revisions.len() as u64).collect::<Vec<_>>());
    assert!(entries.iter().any(|entry| entry["kind"] == "pinned" && entry["actor"] == "admin"));

    let key = plane.did(&["audit", "key"])["key"].as_str().unwrap().to_owned();
    plane.folder.write("log.pub", &key);
    plane.did(&["audit", "who-ran", "test/edge", "--proof", "proof.json", "--log-key", "log.pub"]);
    let check =
        || tamis(plane.folder.path(), &["audit", "verify", "proof.json", "--log-key", "log.pub"]);
    assert!(check().status.success(), "{}", said(&check()));
    let size = format!("\\n{}\\n", entries.len());
    let proof = plane.folder.read("proof.json");
    assert!(proof.contains("checkpoint"), "{proof}");
    let touched = proof.replacen("tamis-registry\\n", &format!("tamis-registry\\n1{size}"), 1);
    plane.folder.write("proof.json", &touched);
    assert_eq!(check().status.code(), Some(1));
}

#[test]
fn a_proxy_follows_pins_rollouts_rollbacks_and_revocations_and_what_ran_is_proven() {
    let plane = Plane::ready(&[]);
    let pins = plane.did(&["pins"]);
    let pins = pins["items"].as_array().unwrap();
    let first = pins.iter().find(|pin| pin["filter"] == "tamis/route").unwrap()["digest"].as_str();
    let first = first.unwrap().to_owned();
    let gateway = plane.gateway();
    plane.serves("test/route", &first);
    eventually("the gateway serves", || (get(&plane.folder.http, "/").status == 200).then_some(()));

    let pulled = plane.did(&["filter", "pull", &format!("tamis/route@{first}"), "--store", "back"]);
    let second = plane.release(pulled["file"].as_str().unwrap(), "tamis/route", "9.0.0");
    plane.did(&[
        "rollout",
        "start",
        "route-9",
        "tamis/route@9.0.0",
        "--service",
        "*",
        "--wave",
        "100:1s",
        "--min-exchanges",
        "5",
        "--max-refusals",
        "0",
    ]);
    plane.serves("test/route", &second);
    eventually("the rollout is done", || {
        // A gate needs traffic before it holds.
        assert_eq!(get(&plane.folder.http, "/").status, 200);
        (plane.did(&["rollout", "status", "route-9"])["ended"] == true).then_some(())
    });
    let watched = plane.did(&["rollout", "status", "route-9", "--watch"]);
    assert_eq!(watched["stage"], "done", "what is over is watched once: {watched}");

    plane.did(&["rollback", "*", "tamis/route", "--confirm"]);
    plane.serves("test/route", &first);
    plane.did(&["revoke", "digest", &second, "--reason", "a test"]);
    let (code, error) = plane.failed(&["pin", "*", "tamis/route@9.0.0", "--confirm"]);
    // With the reason that was recorded, and by whom.
    let words = ["revoked", "a test", "admin"];
    assert!(code == 3 && words.iter().all(|word| error.contains(word)), "{code}: {error}");

    let key = plane.did(&["audit", "key"])["key"].as_str().unwrap().to_owned();
    let asked = ["audit", "who-ran", "test/edge", "--proof", "proof.json", "--log-key", &key];
    eventually("what the gateway reported is in the log", || {
        let ran = plane.did(&asked);
        let mut runs = ran["runs"].as_array().unwrap().iter();
        runs.any(|run| run["slot"] == "test/route" && run["digest"] == first.as_str()).then_some(())
    });
    let verified =
        tamis(plane.folder.path(), &["audit", "verify", "proof.json", "--log-key", &key]);
    assert!(verified.status.success(), "{}", said(&verified));
    let lie = plane.folder.read("proof.json").replace(&first, &second);
    plane.folder.write("proof.json", &lie);
    let refused = tamis(plane.folder.path(), &["audit", "verify", "proof.json", "--log-key", &key]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert_eq!(get(&plane.folder.http, "/").status, 200);
    gateway.end("-INT");
}

#[test]
fn a_candidate_that_proxies_refuse_is_taken_back_and_one_that_may_do_more_needs_somebody_else() {
    let plane = Plane::ready(&[]);
    let bob = token(&plane, "bob", &["observe", "approve"]);
    // The second version fails its self-test, which only a proxy finds out; it also reads more.
    let config = "{ do: trap-always }";
    plane.folder.attach("guest", "test/guest", config, crate::guests::GRANT, "");
    plane.did(&["apply", "-f", ".", "--confirm"]);
    let component = |path: &Path| path.display().to_string();
    let first = plane.release(&component(crate::guests::brittle()), "test/guest", "1.0.0");
    plane.did(&["pin", "*", "test/guest@1.0.0", "--confirm"]);
    let gateway = plane.gateway();
    plane.serves("test/guest", &first);
    plane.release(&component(crate::guests::behaviour()), "test/guest", "2.0.0");
    let start = [
        "rollout",
        "start",
        "guest-2",
        "test/guest@2.0.0",
        "--service",
        "*",
        "--wave",
        "100:1h",
        "--max-refusals",
        "0",
    ];
    let done = plane.ask(&start);
    assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    let subject = json(&done)["problem"]["subject"].as_str().unwrap().to_owned();
    plane.did(&["approve", &subject, "--token-file", &bob]);
    plane.did(&start);
    let ended = eventually("the gate takes it back", || {
        assert_ne!(get(&plane.folder.http, "/").status, 0);
        let view = plane.did(&["rollout", "status", "guest-2"]);
        (view["ended"] == true).then_some(view)
    });
    assert_eq!(ended["stage"], "returned", "{ended}");
    plane.serves("test/guest", &first);
    gateway.end("-INT");
}

#[test]
fn the_registry_is_reached_over_tls_and_over_a_unix_socket_and_by_no_stranger() {
    let folder = tempfile::TempDir::new().unwrap();
    let run = |arguments: &[&str]| tamis(folder.path(), arguments);
    for (name, authority) in [("tls", "ca.crt"), ("other", "other-ca.crt")] {
        let made =
            run(&["keys", "certificate", name, "--authority", authority, "--host", "localhost"]);
        assert!(made.status.success(), "{}", said(&made));
    }
    let start = |arguments: &[&str]| {
        let running = RunningProcess::start(
            folder.path(),
            &[&["registry", "--data", "data"], arguments].concat(),
        );
        running.event("the registry serves", |event| event["event"] == "ready")["address"]
            .as_str()
            .map(|address| (address.to_owned(), running))
            .unwrap()
    };
    let token = ["--token-file", "data/admin.token"];
    let (address, running) =
        start(&["--listen", "127.0.0.1:0", "--certificate", "tls.crt", "--key", "tls.key"]);
    let url = format!("https://localhost:{}", address.rsplit(':').next().unwrap());
    let pins = |ca: &str| run(&[&["pins", "--registry", &url, "--ca", ca], &token[..]].concat());
    assert!(pins("ca.crt").status.success(), "{}", said(&pins("ca.crt")));
    let stranger = pins("other-ca.crt");
    assert!(
        stranger.status.code() == Some(1) && said(&stranger).contains("TLS"),
        "{}",
        said(&stranger)
    );
    assert!(running.end("-INT").success());

    let socket = format!("unix:{}", folder.path().join("s").display());
    let (_, running) = start(&["--listen", &socket]);
    let mode = std::fs::metadata(folder.path().join("s")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "whoever may open it may try tokens");
    let pins = run(&[&["pins", "--registry", &socket], &token[..]].concat());
    assert!(pins.status.success(), "{}", said(&pins));
    assert!(running.end("-INT").success());
}

#[test]
fn a_trust_policy_that_refuses_what_runs_is_shown_and_asks_first() {
    let plane = Plane::ready(&[]);
    let _gateway = plane.gateway();
    let pins = plane.did(&["pins"]);
    let router =
        pins["items"].as_array().unwrap().iter().find(|pin| pin["filter"] == "tamis/route");
    let digest = router.unwrap()["digest"].as_str().unwrap().to_owned();
    plane.serves("test/route", &digest);
    let serves = || get(&plane.folder.http, "/").status;
    assert_eq!(serves(), 200);
    plane.folder.edit("mesh.yaml", "threshold: 1", "threshold: 2");
    let why = "must be signed by 2 distinct keys, but only 1 counts (local-dev)";

    let planned = plane.ask(&["plan", "-f", "."]);
    assert_eq!(planned.status.code(), Some(3), "{}", said(&planned));
    let planned = json(&planned);
    assert_eq!(planned["refusals"][0]["code"], "guard.trust", "{planned}");
    let slots = planned["diff"]["slots"].as_array().unwrap();
    let route = slots.iter().find(|one| one["slot"] == "test/route").unwrap();
    assert_eq!(route["after"]["refused"], "trust.threshold", "{route}");
    assert!(route["after"]["why"].as_str().unwrap().contains(why), "{route}");
    let checked = plane.ask(&["check", ".", "--live"]);
    assert_eq!(checked.status.code(), Some(1), "{}", said(&checked));
    assert!(said(&checked).contains("would be refused"), "{}", said(&checked));
    let (code, error) = plane.failed(&["apply", "-f", "."]);
    assert!(code == 3 && error.contains("guard.trust") && error.contains(why), "{code}: {error}");
    assert_eq!(serves(), 200, "nothing was changed");

    let applied = plane.did(&["apply", "-f", ".", "--confirm"]);
    assert_eq!(applied["diff"]["slots"], planned["diff"]["slots"]);
    let refused = eventually("the gateway refuses it, and says why", || {
        let status = plane.did(&["status"]);
        let slots = status["proxies"][0]["slots"].as_array().unwrap().clone();
        let slot = slots.into_iter().find(|one| one["slot"] == "test/route")?;
        (slot["refusal"]["code"] == "trust.threshold").then_some(slot)
    });
    assert!(refused["refusal"]["rule"].as_str().unwrap().contains(why), "{refused}");
    assert_eq!(serves(), 503);
    // The way back stops nothing, so it asks nobody about it.
    plane.folder.edit("mesh.yaml", "threshold: 2", "threshold: 1");
    let back = json(&plane.ask(&["plan", "-f", "."]));
    assert!(!back["refusals"].to_string().contains("guard.trust"), "{back}");
}

#[test]
fn what_does_not_exist_has_an_exit_code_of_its_own_and_a_line_with_the_way_out() {
    let plane = Plane::start(&[]);
    plane.did(&["apply", "-f", "."]);
    let subject = format!("sha256:{}", "0".repeat(64));
    let commands: [&[&str]; 18] = [
        &["history", "test/none"],
        &["history", "test/none", "tamis/route"],
        &["history", "test/edge", "acme/none"],
        &["history", "service", "none", "-n", "test"],
        &["get", "service", "none", "-n", "test"],
        &["describe", "gateway", "none", "-n", "test"],
        &["delete", "service", "none", "-n", "test"],
        &["rollback", "service", "none", "-n", "test"],
        &["status", "--service", "test/none"],
        &["status", "--filter", "acme/none"],
        &["pin", "*", "acme/none@1.0.0"],
        &["unpin", "test/edge", "tamis/route"],
        &["revoke", "key", "nobody", "--reason", "so"],
        &["identity", "show", "gateway:test/none"],
        &["rollout", "status", "none"],
        &["rollout", "abort", "none", "--reason", "so"],
        &["audit", "who-ran", "test/none"],
        &["approve", &subject],
    ];
    let explained = tamis(plane.folder.path(), &["explain", "trust.none", "--output", "json"]);
    let asked = commands.iter().map(|command| (command.join(" "), plane.ask(command)));
    for (command, done) in asked.chain([("explain trust.none".to_owned(), explained)]) {
        assert_eq!(done.status.code(), Some(4), "{command}: {}", said(&done));
        let error = json(&done)["error"].as_str().unwrap().to_owned();
        assert_eq!(error.lines().count(), 1, "{command}: {error}");
        let ways = ["`tamis ", "did you mean", "there are ", "name one of ", "first ", "push"];
        assert!(ways.iter().any(|way| error.contains(way)), "{command}: no way out: {error}");
    }
    // What exists and has nothing to show is no failure.
    for command in [
        &["history", "test/edge"][..],
        &["history", "*"],
        &["history", "test/edge", "tamis/route"],
        &["status", "--filter", "tamis/route", "--state", "drift"],
    ] {
        plane.did(command);
    }
}
