//! Components that may not run, and hostile components: refused or contained, without effect on traffic.

use crate::guests::{GRANT, sign};
use tamis_e2e::{Backend, Folder, RunningProcess, eventually, get, tamis};

/// A gateway with the well-behaved guest on it.
fn with_guest() -> (Backend, Folder, RunningProcess) {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    sign(&folder, "1.0.0");
    folder.attach(
        "guest",
        "test/guest",
        "{ do: edit, reads: [\":path\"], writes: [x-path] }",
        GRANT,
        "",
    );
    let gateway = folder.start(&[]);
    folder.slot_state("test/guest", "serving");
    assert_eq!(get(&folder.http, "/before").status, 200);
    assert!(served_by_guest(&backend, "/before"));
    (backend, folder, gateway)
}

fn served_by_guest(backend: &Backend, path: &str) -> bool {
    let seen = backend.last().unwrap();
    seen.headers.iter().any(|(name, value)| name == "x-path" && value == path)
}

/// After a bad change: the slot reports why, the last good version keeps serving.
fn kept(backend: &Backend, folder: &Folder, code: &str) {
    let slot = folder.slot_state("test/guest", &format!("refused:{code}"));
    assert!(slot["detail"].as_str().unwrap().contains("1.0.0 keeps serving"), "{slot}");
    assert_eq!(get(&folder.http, "/after").status, 200);
    assert!(served_by_guest(backend, "/after"));
    assert_eq!(folder.slot("test/route").unwrap()["state"], "serving");
}

#[test]
fn one_changed_byte() {
    let (backend, folder, _gateway) = with_guest();
    let file = folder.file(".tamis/store/test-guest-1.0.0.wasm");
    let mut octets = std::fs::read(&file).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    std::fs::write(&file, octets).unwrap();
    kept(&backend, &folder, "trust.altered");
}

#[test]
fn a_changed_byte_at_the_start_never_runs_at_all() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    sign(&folder, "1.0.0");
    folder.attach("guest", "test/guest", "{ do: edit }", GRANT, "");
    let file = folder.file(".tamis/store/test-guest-1.0.0.wasm");
    let mut octets = std::fs::read(&file).unwrap();
    octets.push(0);
    std::fs::write(&file, octets).unwrap();
    let _gateway = folder.start(&[]);
    folder.slot_state("test/guest", "refused:trust.altered");
    let reply = get(&folder.http, "/");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (503, Some("filter.refused")));
    assert_eq!(backend.count(), 0, "it fails closed");
}

#[test]
fn signed_by_another_key() {
    let (backend, folder, _gateway) = with_guest();
    assert!(tamis(folder.path(), &["keys", "generate", "stranger"]).status.success());
    let done = tamis(
        folder.path(),
        &[
            "filter",
            "sign",
            ".tamis/store/test-guest-1.0.0.wasm",
            "--name",
            "test/guest",
            "--version",
            "1.0.1",
            "--key",
            "stranger.key",
            "--store",
            ".tamis/store",
            "--pin",
            ".tamis/filters.lock.yaml",
        ],
    );
    assert!(done.status.success());
    kept(&backend, &folder, "trust.unknown-key");
}

#[test]
fn not_signed_at_all() {
    let (backend, folder, _gateway) = with_guest();
    sign(&folder, "1.0.1");
    folder.slot_state("test/guest", "serving");
    std::fs::remove_file(folder.file(".tamis/store/test-guest-1.0.1.wasm.sigstore.json")).unwrap();
    let slot = folder.slot_state("test/guest", "refused:trust.unsigned");
    // The running artifact was verified when it was loaded; the file on disk is now another.
    assert!(slot["detail"].as_str().unwrap().contains("keeps serving"), "{slot}");
    assert_eq!(get(&folder.http, "/after").status, 200);
    assert!(served_by_guest(&backend, "/after"));
}

#[test]
fn revoked_while_it_runs() {
    let (backend, folder, _gateway) = with_guest();
    let slot = folder.slot("test/guest").unwrap();
    let digest = slot["digest"].as_str().unwrap();
    folder.edit(
        "mesh.yaml",
        "  threshold: 1\n",
        &format!("  threshold: 1\n  revokedDigests: [\"{digest}\"]\n"),
    );
    folder.slot_state("test/guest", "refused:trust.revoked-digest");
    let before = backend.count();
    let reply = get(&folder.http, "/");
    assert_eq!(reply.status, 503, "what is revoked is not kept");
    assert_eq!(backend.count(), before);
}

#[test]
fn importing_what_was_not_granted() {
    let (backend, folder, _gateway) = with_guest();
    folder.edit("guest.yaml", "kv: {}, ", "");
    let slot = folder.slot_state("test/guest", "refused:grant.import");
    let detail = slot["detail"].as_str().unwrap();
    assert!(detail.contains("`kv`") && detail.contains("test/guest"), "{detail}");
    assert_eq!(get(&folder.http, "/after").status, 200);
    assert!(served_by_guest(&backend, "/after"));
}

#[test]
fn failing_configure() {
    let (backend, folder, _gateway) = with_guest();
    folder.edit("guest.yaml", "do: edit", "do: refuse");
    let slot = folder.slot_state("test/guest", "refused:filter.configure");
    assert!(slot["detail"].as_str().unwrap().contains("/do: `refuse` is never accepted"), "{slot}");
    assert_eq!(get(&folder.http, "/after").status, 200);
    assert!(served_by_guest(&backend, "/after"));
}

/// A guest that misbehaves while it serves: its own exchanges are refused within its limits, others
/// continue.
fn contained(what: &str) {
    let (_backend, folder, _gateway) = with_guest();
    // On one route only, so that other routes are not affected.
    folder.edit("mesh.yaml", "    - name: all\n", &format!("{BAD_RULE}    - name: all\n"));
    folder.edit(
        "guest.yaml",
        "kind: Gateway, name: edge",
        "kind: HTTPRoute, name: all, sectionName: bad",
    );
    folder.edit("guest.yaml", "do: edit", &format!("do: {what}"));
    eventually("the bad rule serves", || {
        (get(&folder.http, "/bad").header("x-tamis-reason") == Some("filter.failed")).then_some(())
    });
    let reply = get(&folder.http, "/bad");
    assert_eq!((reply.status, reply.header("x-tamis-reason")), (503, Some("filter.failed")));
    for _ in 0..20 {
        get(&folder.http, "/bad");
        assert_eq!(get(&folder.http, "/good").status, 200);
    }
    let record = folder.record("the refusal is recorded", |record| record["path"] == "/bad");
    assert_eq!(record["filter"], "test/guest", "{record}");
    // A filter that keeps failing is not called for a while, and its statistics show that.
    eventually("its breaker is open", || {
        get(&folder.http, "/bad");
        let slot = folder.slot("test/guest").unwrap();
        let faults = slot["statistics"]["hooks"]["request"]["faults"].as_u64();
        (faults >= Some(5) && slot["statistics"]["breaker"] == "open").then_some(())
    });
}

#[test]
fn a_write_that_was_not_declared_is_in_the_record_and_in_the_log() {
    let (_backend, folder, gateway) = with_guest();
    folder.edit("guest.yaml", "writes: [x-path]", "writes: []");
    eventually("the new configuration serves", || {
        (get(&folder.http, "/late").header("x-tamis-reason") == Some("filter.failed")).then_some(())
    });
    let record = folder.record("the refusal", |record| record["reason"] == "filter.failed");
    let detail = record["detail"].as_str().unwrap();
    assert!(detail.contains("x-path"), "{record}");
    assert_eq!(record["filter"], "test/guest", "{record}");
    // At the level that is logged when nobody asks for more.
    eventually("the log has it", || {
        let log = gateway.errors();
        let mut lines = log.lines();
        lines.any(|line| line.contains("test/guest") && line.contains("x-path")).then_some(())
    });
}

const BAD_RULE: &str = "    - name: bad\n      matches: [{ path: { type: PathPrefix, value: /bad } }]\n      \
                        backendRefs: [{ name: app, port: 80 }]\n";

#[test]
fn looping_for_ever() {
    contained("loop");
}

#[test]
fn allocating_for_ever() {
    contained("grow");
}

#[test]
fn trapping_on_every_call() {
    contained("trap");
}

/// A request of this filter writes 100 KB of log, and a pipe takes 64 KiB.
#[test]
fn a_stderr_that_nobody_reads_holds_up_no_request_and_no_end() {
    let backend = Backend::start();
    let folder = Folder::gateway(&[backend.address]);
    sign(&folder, "1.0.0");
    let grant = GRANT
        .replace("log: {}", "log: { perSecond: 10000, maxBytes: 512 }")
        .replace("time: 20ms", "time: 500ms");
    assert_ne!(grant, GRANT);
    folder.attach("guest", "test/guest", "{ do: log-flood }", &grant, "");
    let gateway = folder.start_unread(&[]);
    folder.slot_state("test/guest", "serving");
    for n in 0..40 {
        assert_eq!(get(&folder.http, &format!("/{n}")).status, 200);
    }
    assert!(gateway.end().success());
}
