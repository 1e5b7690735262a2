//! Replicas of one registry on PostgreSQL and S3: either may end at any time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::thread;

use tamis_e2e::{Objects, Postgres, RunningProcess, eventually};
use tempfile::TempDir;

use super::crashes::{missing, push_until_the_end};
use super::{Caller, Registry, sha256, token};

/// The storage that replicas share, and the arguments that name it.
struct SharedStorage {
    folder: TempDir,
    _postgres: Postgres,
    _objects: Objects,
    arguments: Vec<String>,
}

impl SharedStorage {
    fn new() -> Self {
        let (folder, postgres, objects) =
            (TempDir::new().unwrap(), Postgres::start(), Objects::start());
        let options: String =
            objects.options().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(folder.path().join("objects"), options).unwrap();
        let arguments = ["--database-url", &postgres.url()].map(str::to_owned).into_iter();
        let blobs = ["--blobs", "s3://tamis/registry", "--blobs-options", "objects"];
        let arguments = arguments.chain(blobs.map(str::to_owned)).collect();
        Self { folder, _postgres: postgres, _objects: objects, arguments }
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    fn replica(&self) -> Registry {
        Registry::start(self.folder.path(), &self.arguments())
    }

    fn token(&self) -> String {
        token(self.folder.path(), &self.arguments(), "ci", "*", &["pull", "push"])
    }
}

#[test]
fn g19_killing_either_of_two_replicas_loses_no_acknowledged_push() {
    let shared = SharedStorage::new();
    let secret = shared.token();
    let mut replicas = BTreeMap::from([(0, shared.replica()), (1, shared.replica())]);
    let pushed = Mutex::new(Vec::new());
    for round in 0..4 {
        let victim = replicas.remove(&(round % 2)).unwrap();
        let survivor = &replicas[&(1 - round % 2)];
        let stayed = Mutex::new(Vec::new());
        let addresses = [victim.address.clone(), survivor.address.clone()];
        thread::scope(|scope| {
            for pusher in 0..2 {
                let (caller, pushed) =
                    (Caller { address: &addresses[0], token: Some(&secret) }, &pushed);
                scope.spawn(move || {
                    push_until_the_end(caller, &format!("round-{round}-{pusher}"), pushed);
                });
            }
            // The other replica's pushes continue while its neighbour dies.
            let caller = Caller { address: &addresses[1], token: Some(&secret) };
            let stayed = &stayed;
            scope.spawn(move || {
                for number in 0..6 {
                    let tag = format!("stayed-{round}-{number}");
                    assert!(caller.push("acme/filter", &tag, tag.as_bytes()), "{tag}");
                    stayed.lock().unwrap().push(tag);
                }
            });
            let before = 2 * round;
            eventually("some pushes are acknowledged", || {
                (pushed.lock().unwrap().len() > before && !stayed.lock().unwrap().is_empty())
                    .then_some(())
            });
            victim.kill();
        });
        let pushed = pushed.lock().unwrap();
        replicas.insert(round % 2, shared.replica());
        for replica in replicas.values() {
            let caller = replica.caller(&secret);
            assert_eq!(missing(caller, &pushed), Vec::<&str>::new());
            for tag in stayed.lock().unwrap().iter() {
                assert!(caller.has("acme/filter", tag, tag.as_bytes()), "{tag}");
            }
        }
    }
}

#[test]
fn of_replicas_that_start_at_once_on_an_empty_database_those_serve_that_have_its_keys() {
    let shared = SharedStorage::new();
    let names = ["x", "y", "z"];
    let start = |name: &str| {
        let own = ["registry", "--data", name, "--listen", "127.0.0.1:0"];
        let all: Vec<&str> = own.into_iter().chain(shared.arguments()).collect();
        RunningProcess::start(shared.folder.path(), &all)
    };
    let mut all: Vec<_> = names.iter().map(|name| (*name, start(name))).collect();
    let serves = |one: &RunningProcess| one.events().iter().any(|event| event["event"] == "ready");
    let at = eventually("one serves", || all.iter().position(|(_, running)| serves(running)));
    let (winner, _running) = all.remove(at);
    let loser = all[0].0;
    for (name, running) in all {
        let said = eventually("it says why it does not start", || {
            running.events().iter().find_map(|event| event["error"].as_str().map(str::to_owned))
        });
        assert!(!running.wait().0.success(), "{name}");
        assert!(said.contains("copy director.key and log.key from another replica"), "{said}");
    }
    // With the keys of the one that serves, another one starts.
    for key in ["director.key", "log.key"] {
        let from = shared.folder.path().join(winner).join(key);
        fs::copy(from, shared.folder.path().join(loser).join(key)).unwrap();
    }
    start(loser).event("the registry serves", |event| event["event"] == "ready");
}

#[test]
fn what_one_replica_acknowledged_the_other_serves_at_once() {
    let shared = SharedStorage::new();
    let secret = shared.token();
    let (one, other) = (shared.replica(), shared.replica());
    for number in 0..10 {
        let (from, to) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let layer = format!("layer {number}");
        let tag = format!("tag-{number}");
        assert!(from.caller(&secret).push("acme/filter", &tag, layer.as_bytes()));
        assert!(to.caller(&secret).has("acme/filter", &tag, layer.as_bytes()), "{tag}");
    }
    // An upload begun at one is finished at the other.
    let caller = one.caller(&secret);
    let begun = caller.send("POST", "/v2/acme/filter/blobs/uploads/", &[], b"");
    let location = begun.header("location").unwrap().to_owned();
    assert_eq!(caller.send("PATCH", &location, &[], b"half and ").status, 202);
    let path = format!("{location}?digest={}", sha256(b"half and half"));
    assert_eq!(other.caller(&secret).send("PUT", &path, &[], b"half").status, 201);
}
