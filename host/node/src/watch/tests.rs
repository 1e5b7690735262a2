//! Which changes are noticed, and how often.

use super::*;
use crate::node::tests::{folder, service, start};
use std::sync::mpsc::Receiver;

fn watched(folder: &Path, node: &Arc<Node>) -> (Watch, Receiver<Reload>) {
    let (send, receive) = channel();
    let told = move |reload: &Reload| drop(send.send(reload.clone()));
    (Watch::start(Arc::clone(node), &[folder.to_owned()], told).unwrap(), receive)
}

fn node(folder: &Path) -> Arc<Node> {
    Arc::new(start(folder).unwrap().0)
}

/// A route that changes the plan of the gateway.
fn route(service: &str) -> String {
    format!(
        "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: all, namespace: test }}\n\
         spec:\n  parentRefs: [{{ kind: Gateway, name: edge }}]\n  rules: [{{ backendRefs: [{{ name: {service}, port: 80 }}] }}]\n"
    )
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_change_between_the_start_and_the_watch_is_seen() {
    let (folder, _) = folder();
    let node = node(folder.path());
    std::fs::write(folder.path().join("app.yaml"), service("app") + "---\n" + &route("app"))
        .unwrap();
    let (_watch, told) = watched(folder.path(), &node);
    let reload = told.recv_timeout(LONG).unwrap();
    assert!(reload.changed && reload.generation == 2, "{reload:?}");
}

#[test]
fn a_problem_is_told_and_its_mending_too() {
    let (folder, _) = folder();
    let node = node(folder.path());
    let (_watch, told) = watched(folder.path(), &node);
    let bad = folder.path().join("bad.yaml");
    std::fs::write(&bad, "kind: [\n").unwrap();
    while told.recv_timeout(LONG).unwrap().problems.is_empty() {}
    std::fs::remove_file(&bad).unwrap();
    while !told.recv_timeout(LONG).unwrap().problems.is_empty() {}
}

#[test]
fn a_burst_of_changes_is_few_reloads_of_which_the_last_has_seen_all() {
    let (folder, _) = folder();
    let node = node(folder.path());
    let (_watch, told) = watched(folder.path(), &node);
    const FILES: usize = 60;
    for index in 0..FILES {
        let name = format!("bad-{index}.yaml");
        std::fs::write(folder.path().join(name), "kind: [\n").unwrap();
    }
    let mut reloads = 1;
    while told.recv_timeout(LONG).unwrap().problems.len() < FILES {
        reloads += 1;
    }
    assert!(reloads <= FILES / 4, "{reloads} reloads for {FILES} changes");
}

#[test]
fn a_watch_that_is_dropped_holds_its_node_no_longer() {
    let (folder, _) = folder();
    let node = node(folder.path());
    let (watch, told) = watched(folder.path(), &node);
    drop(watch);
    // The thread ends, and drops what it held: the channel closes.
    while told.recv_timeout(LONG).is_ok() {}
    let until = std::time::Instant::now() + LONG;
    while Arc::strong_count(&node) > 1 {
        assert!(std::time::Instant::now() < until, "the thread holds the node");
        std::thread::yield_now();
    }
}

#[test]
fn a_log_beside_the_documents_is_no_reason_to_read_them_again() {
    let (folder, _) = folder();
    let node = node(folder.path());
    let log = folder.path().join("proxy.log");
    let (send, told) = channel();
    let written = log.clone();
    // What a reload reports goes into the folder, as that of a proxy whose output is a file there.
    let report = move |reload: &Reload| {
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&written).unwrap();
        std::io::Write::write_all(&mut log, b"a reload\n").unwrap();
        // Nobody listens any more once the test has seen what it wanted.
        let _ = send.send(reload.problems.len());
    };
    let _watch = Watch::start(node, &[folder.path().to_owned()], report).unwrap();
    for file in 1..=3 {
        std::fs::write(folder.path().join(format!("broken{file}.yaml")), "kind: [").unwrap();
        while told.recv_timeout(LONG).unwrap() < file {}
    }
    let reloads = std::fs::read_to_string(&log).unwrap().lines().count();
    // A file is written in steps, each of which may be seen by itself.
    assert!(reloads <= 9, "{reloads} reloads for 3 changes");
}

#[test]
fn a_folder_that_is_not_there_cannot_be_watched_and_the_error_says_so() {
    let (folder, _) = folder();
    let node = node(folder.path());
    let gone = folder.path().join("gone");
    let error = Watch::start(node, &[gone], |_| {}).err().unwrap();
    assert!(error.to_string().contains("cannot be watched"), "{error}");
}

#[test]
fn what_does_not_matter_is_not_told_and_the_start_is() {
    let (folder, _) = folder();
    let own = folder.path().join("own");
    std::fs::create_dir(&own).unwrap();
    let (send, told) = channel();
    let root = folder.path().to_owned();
    // Each call reports what exists, so that it shows which change it was made for.
    let changed = move || {
        // The test may have ended once it has seen what it wanted.
        let _ = send.send(root.join("b").exists());
    };
    let matters = |path: &Path| path.file_name().is_some_and(|name| name == "b");
    let _watch = Watch::folders(&[folder.path().to_owned()], matters, changed).unwrap();
    assert!(!told.recv_timeout(LONG).unwrap());
    for index in 0..20 {
        std::fs::write(own.join(format!("a{index}")), "a").unwrap();
    }
    std::fs::write(folder.path().join("b"), "b").unwrap();
    assert!(told.recv_timeout(LONG).unwrap(), "a change that does not matter was told");
}

/// Whoever writes a file again truncates it first, and may write slowly.
#[test]
fn a_file_is_read_when_it_is_closed_and_not_while_it_is_half_written() {
    use std::io::Write as _;
    let (folder, _) = folder();
    let path = folder.path().join("app.yaml");
    std::fs::write(&path, service("app")).unwrap();
    let node = node(folder.path());
    let (_watch, told) = watched(folder.path(), &node);
    // The watch has begun once it tells of this.
    std::fs::write(folder.path().join("first.yaml"), service("first")).unwrap();
    told.recv_timeout(LONG).unwrap();
    while told.recv_timeout(QUIET * 10).is_ok() {}
    // The beginning is a document with a problem, and the whole has none.
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"kind: [\n").unwrap();
    file.flush().unwrap();
    std::fs::write(folder.path().join("whole.yaml"), service("whole")).unwrap();
    // Much longer than it takes to notice a change that is complete.
    while let Ok(reload) = told.recv_timeout(QUIET * 20) {
        assert!(reload.problems.is_empty(), "{reload:?}");
    }
    file.set_len(0).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file.write_all(service("app").as_bytes()).unwrap();
    drop(file);
    let reload = told.recv_timeout(LONG).unwrap();
    assert!(reload.problems.is_empty(), "{reload:?}");
}

#[test]
fn a_file_that_is_kept_open_is_waited_for_with_a_bound() {
    use std::io::Write as _;
    let (folder, _) = folder();
    let node = node(folder.path());
    let (_watch, told) = watched(folder.path(), &node);
    let mut file = std::fs::File::create(folder.path().join("bad.yaml")).unwrap();
    file.write_all(b"kind: [\n").unwrap();
    while told.recv_timeout(LONG).unwrap().problems.is_empty() {}
    drop(file);
}
