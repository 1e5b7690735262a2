//! Passwords with slow hashes: a request waits for the comparison, its worker does not.

use crate::policies::attachment_of;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::thread;
use tamis_e2e::{Backend, Folder, Reply, RunningProcess, request};

/// `correct horse` at a high cost: its comparison takes most of a second of a core.
const USERS: &str = "ada:$2b$13$NDlevYnhcS1S7aoa45.yqutyjn3iEnAJ7zK3fjqQVwcXAwJ1uCqrO\n";

fn gateway(backend: &Backend, grant: (&str, &str)) -> (Folder, RunningProcess) {
    let folder = Folder::documents(&[backend.address]);
    let config = "{ secretName: users, realm: back office, userHeader: x-user }";
    let documents = attachment_of("basic-auth", "authn", 1, config);
    assert!(documents.contains(grant.0), "{documents}");
    folder.write("policies.yaml", &documents.replace(grant.0, grant.1));
    folder.write("users.txt", USERS);
    folder.prepare();
    let running = folder.start(&["--secret", "users=file:users.txt", "--workers", "1"]);
    (folder, running)
}

fn ask(address: &str, credentials: &str) -> Reply {
    let value = format!("Basic {}", STANDARD.encode(credentials));
    request(address, "GET", "/", &[("authorization", &value), ("x-user", "root")], b"")
}

#[test]
fn a_password_is_compared_while_the_worker_serves_others() {
    let backend = Backend::start();
    let (folder, _running) = gateway(&backend, ("passwords: {}", "passwords: {}"));
    let answered = thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&folder.http, "ada:correct horse"));
        let mut answered = 0;
        while !slow.is_finished() {
            let reply = request(&folder.http, "GET", "/", &[], b"");
            assert_eq!(reply.status, 401);
            assert_eq!(reply.header("x-tamis-reason"), Some("basic-auth.missing"));
            let challenge = "Basic realm=\"back office\", charset=\"UTF-8\"";
            assert_eq!(reply.header("www-authenticate"), Some(challenge));
            answered += 1;
        }
        assert_eq!(slow.join().unwrap().status, 200);
        answered
    });
    // A worker that compared by itself would answer the first of them afterwards.
    assert!(answered >= 3, "{answered} requests were answered meanwhile");
    let seen = backend.last().unwrap();
    let values = |name: &str| {
        let named = seen.headers.iter().filter(|(n, _)| n == name);
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!((values("x-user"), values("authorization")), (vec!["ada".to_owned()], vec![]));
    for (credentials, status, reason) in [
        ("ada:correct horse", 200, None),
        ("ada:correct horse ", 401, Some("basic-auth.wrong")),
        ("bob:correct horse", 401, Some("basic-auth.wrong")),
        ("ada", 401, Some("basic-auth.malformed")),
    ] {
        let reply = ask(&folder.http, credentials);
        assert_eq!(
            (reply.status, reply.header("x-tamis-reason")),
            (status, reason),
            "{credentials}"
        );
    }
    // A list that cannot be used refuses everybody, also whom it knew.
    folder.write("users.txt", "ada:$apr1$abcdefgh$0123456789012345678901\n");
    tamis_e2e::eventually("the new list applies", || {
        let reply = ask(&folder.http, "ada:correct horse");
        (reply.header("x-tamis-reason") == Some("basic-auth.no-users")).then_some(())
    });
}

#[test]
fn guesses_take_the_places_that_the_grant_gives_and_no_more() {
    let backend = Backend::start();
    let (folder, _running) = gateway(&backend, ("passwords: {}", "passwords: { concurrent: 2 }"));
    let statuses = thread::scope(|scope| {
        let guesses = (0..8).map(|guess| {
            let address = &folder.http;
            scope.spawn(move || ask(address, &format!("ada:guess {guess}")).status)
        });
        let guesses: Vec<_> = guesses.collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect::<Vec<_>>()
    });
    let of = |status: u16| statuses.iter().filter(|one| **one == status).count();
    assert!(of(401) >= 2 && of(503) >= 1 && of(401) + of(503) == 8, "{statuses:?}");
    assert_eq!(backend.count(), 0);
    assert_eq!(ask(&folder.http, "ada:correct horse").status, 200, "the places are free again");
}
