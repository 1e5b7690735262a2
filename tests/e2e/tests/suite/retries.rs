//! One endpoint fails: the effects on clients, the budget, the circuit and the other endpoint.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tamis_e2e::{Answer, Backend, Folder, FolderOptions, eventually, free_port, get, request, up};

#[test]
fn a_failing_endpoint_is_retried_elsewhere_opens_its_circuit_and_comes_back() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.answers(Answer::Status(503));
    let folder = Folder::gateway(&[good.address, bad.address]);
    let _gateway = folder.start(&[]);

    // Clients do not notice.
    for n in 0..60 {
        assert_eq!(get(&folder.http, &format!("/{n}")).status, 200, "request {n}");
    }
    let endpoint = format!("endpoint=\"{}\"", bad.address);
    let circuit = |name: &str| folder.metric(&[name, &endpoint]);
    eventually("the circuit opens", || {
        get(&folder.http, "/more");
        (circuit("tamis_circuit_opened_total") >= Some(1.0)).then_some(())
    });
    assert!(folder.metric(&["tamis_upstream_retries_total{"]).unwrap() >= 5.0);
    let good_circuit = format!("endpoint=\"{}\"", good.address);
    assert_eq!(folder.metric(&["tamis_circuit_state", &good_circuit]), Some(0.0));
    assert_eq!(folder.metric(&["tamis_circuit_opened_total", &good_circuit]), Some(0.0));

    // While it is open only probes arrive.
    let before = bad.count();
    for _ in 0..30 {
        assert_eq!(get(&folder.http, "/open").status, 200);
    }
    assert!(bad.count() - before <= 6, "{} arrived through an open circuit", bad.count() - before);

    // It recovers: probes succeed, the circuit closes, it receives its share again.
    bad.answers(Answer::Status(200));
    eventually("the circuit closes", || {
        get(&folder.http, "/again");
        (circuit("tamis_circuit_state") == Some(0.0)).then_some(())
    });
    let before = bad.count();
    eventually("it takes its share again", || {
        assert_eq!(get(&folder.http, "/share").status, 200);
        (bad.count() > before + 3).then_some(())
    });
}

#[test]
fn retries_are_bounded_by_the_budget_under_load() {
    let bad = Backend::start();
    bad.answers(Answer::Status(503));
    // No circuit may affect the count.
    let options = FolderOptions {
        consecutive_failures: 0,
        minimum_requests: 1_000_000,
        ..FolderOptions::default()
    };
    let folder = Folder::documents_with(&[bad.address], &options);
    folder.write(
        "policy.yaml",
        "kind: UpstreamPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
         spec:\n  targetRefs: [{ kind: Service, name: app }]\n  retryBudget: { percent: 20, minPerSecond: 1 }\n",
    );
    folder.prepare();
    let _gateway = folder.start(&[]);
    let requests = 400;
    for _ in 0..requests {
        let reply = get(&folder.http, "/");
        assert_eq!(reply.status, 503);
    }
    let retries = folder.metric(&["tamis_upstream_retries_total{"]).unwrap();
    // 20 % of the requests, and a floor of one a second over the ten seconds of the window.
    let allowed = f64::from(requests) * 0.2 + 10.0;
    assert!(retries > 20.0 && retries <= allowed, "{retries} of {allowed} allowed");
    assert!(bad.count() as f64 <= f64::from(requests) + allowed);
    let refused = folder.metric(&["tamis_upstream_retries_refused_total{"]).unwrap();
    let empty = folder.records().iter().filter(|r| r["reason"] == "retry.budget-empty").count();
    assert!(refused + empty as f64 > 50.0, "{refused} refused, {empty} records say so");
}

/// A server that answers each request with these bytes, followed by `endless` again and again unless that
/// is empty; counts requests.
fn says(answer: &'static str, endless: &'static str) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let endless = endless.repeat(1000);
                while read_head(&mut stream) {
                    counted.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                    while !endless.is_empty() && stream.write_all(endless.as_bytes()).is_ok() {}
                }
            });
        }
    });
    (address, count)
}

fn read_head(stream: &mut TcpStream) -> bool {
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            _ => return false,
        }
    }
    true
}

#[test]
fn no_upstream_holds_a_client_longer_than_the_longest_backoff() {
    for (seconds, max, requests) in
        [("3600", "5ms", 1), ("1", "2s", 3), ("99999999999999", "2s", 1)]
    {
        let answer =
            format!("HTTP/1.1 503 x\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n");
        let (address, count) = says(Box::leak(answer.into_boxed_str()), "");
        let folder = Folder::gateway_with(
            &[address],
            &FolderOptions { max_backoff: max, ..FolderOptions::default() },
        );
        let _gateway = folder.start(&[]);
        let began = Instant::now();
        let reply = get(&folder.http, "/");
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("retry-after"), Some(seconds));
        assert_eq!(count.load(Ordering::Relaxed), requests, "{seconds} s, at most {max}");
        let took = began.elapsed();
        let waited = Duration::from_secs(requests - 1);
        assert!(took >= waited && took < waited + Duration::from_secs(3), "{took:?}");
    }
}

/// A server that answers each head at once with 503 and reads nothing more, as one that has too much to do.
fn answers_early(rest: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            if read_head(&mut stream) {
                let _ = stream.write_all(format!("HTTP/1.1 503 x\r\n{rest}").as_bytes());
            }
            held.push(stream);
        }
    });
    address
}

/// A server that reads a whole upload and answers whether every octet arrived. Counts the heads that it has read.
fn takes_uploads() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                if !read_head(&mut stream) {
                    return;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let mut octets = vec![0; UPLOAD];
                let whole =
                    stream.read_exact(&mut octets).is_ok() && octets.iter().all(|it| *it == 7);
                let status = if whole { "200 OK" } else { "500 x" };
                // The connection ends here, and a server that does not say so has the next request lost on it: an attempt
                // that this test does not mean to count.
                let _ = stream.write_all(
                    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                        .as_bytes(),
                );
            });
        }
    });
    (address, count)
}

const UPLOAD: usize = 320_000;

#[test]
fn an_upload_that_one_endpoint_refuses_early_reaches_another_whole() {
    for rest in [
        "transfer-encoding: chunked\r\n\r\n4\r\nbusy\r\n",
        "transfer-encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n",
        "content-length: 10\r\n\r\n",
        "content-length: 0\r\n\r\n",
    ] {
        let (good, heads) = takes_uploads();
        let folder = Folder::gateway(&[answers_early(rest), good]);
        let _gateway = folder.start(&[]);
        // Each way round at least once: which endpoint comes first is not for the test to choose.
        for _ in 0..4 {
            let before = heads.load(Ordering::Relaxed);
            let mut stream = TcpStream::connect(&folder.http).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let head = format!(
                "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&[7; 10_000]).unwrap();
            // An upload of which more was sent than the proxy keeps is not sent a second time, so the rest waits
            // until the request is where it can end: there at once, or after the early answer of the other.
            eventually("the head at the server that takes uploads", || {
                (heads.load(Ordering::Relaxed) > before).then_some(())
            });
            stream.write_all(&[7; UPLOAD - 10_000]).unwrap();
            let mut reply = String::new();
            let read = stream.read_to_string(&mut reply);
            assert!(reply.starts_with("HTTP/1.1 200 "), "{rest:?}: {read:?} {reply}");
        }
    }
}

/// A server that keeps each connection after its first response, and closes it without a response when a second request
/// comes: what every server does at times, since it may give up an idle connection while a request is on its way to it.
/// Counts the requests that it answered.
fn closes_at_the_second_request() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut octets = [0; 5];
                if read_head(&mut stream) && stream.read_exact(&mut octets).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let status = if octets == *b"whole" { "200 OK" } else { "500 x" };
                    let _ = stream.write_all(
                        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes(),
                    );
                    read_head(&mut stream);
                }
            });
        }
    });
    (address, count)
}

#[test]
fn a_request_on_a_connection_that_was_closed_meanwhile_is_sent_again_with_its_content() {
    // One attempt alone: a connection that the server gave up is no failure of the server, and takes none. A request with
    // POST may have been carried out, so its client decides.
    for (method, is_sent_again) in [("PUT", true), ("DELETE", true), ("POST", false)] {
        let (server, answered) = closes_at_the_second_request();
        let options = FolderOptions { attempts: 1, ..FolderOptions::default() };
        let folder = Folder::gateway_with(&[server], &options);
        let _gateway = folder.start(&[]);
        let statuses: Vec<_> =
            (0..8).map(|_| request(&folder.http, method, "/", &[], b"whole").status).collect();
        let good = statuses.iter().filter(|status| **status == 200).count();
        // Each worker has connections of its own, so which requests are lost differs.
        assert_eq!(good == statuses.len(), is_sent_again, "{method}: {statuses:?}");
        assert!(statuses.iter().all(|status| [200, 502].contains(status)), "{statuses:?}");
        assert_eq!(answered.load(Ordering::Relaxed), good as u64, "{method}: {statuses:?}");
    }
}

#[test]
fn what_an_upstream_sends_beside_an_answer_is_bounded_and_asked_for_once() {
    for (answer, endless) in [
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n00000000000000000000", "0"),
        ("HTTP/1.1 200 OK\r\na: ", "x"),
        // Another protocol, whose first line may have no end.
        ("SSH-2.0-x", ""),
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", ""),
    ] {
        let (address, count) = says(answer, endless);
        let folder = Folder::gateway(&[address]);
        let _gateway = folder.start(&[]);
        let reply = get(&folder.http, "/");
        assert_eq!(reply.status, 502, "{answer:?} {endless:?}");
        assert_eq!(reply.header("x-tamis-reason"), Some("upstream.protocol"));
        assert_eq!(count.load(Ordering::Relaxed), 1, "{answer:?} {endless:?}");
    }
}

#[test]
fn a_request_that_never_left_is_sent_elsewhere_whatever_its_method() {
    let (good, dead) = (Backend::start(), free_port());
    let dead = SocketAddr::from(([127, 0, 0, 1], dead));
    let folder = Folder::gateway(&[dead, good.address]);
    let _gateway = folder.start(&[]);
    for n in 0..20 {
        let reply = request(&folder.http, "POST", &format!("/{n}"), &[], b"once");
        assert_eq!(reply.status, 200, "request {n}");
    }
    assert_eq!(good.count(), 20);
}

/// A gateway and a sidecar in front of the backend, both with every attachment of the folder.
pub(crate) fn mesh(backend: SocketAddr) -> Folder {
    mesh_with(backend, "", "")
}

/// The same, with fields of the listener and lines of the service.
pub(crate) fn mesh_with(backend: SocketAddr, listener: &str, service: &str) -> Folder {
    let ports = [free_port(), free_port(), free_port()];
    let endpoint = format!(
        "sidecar: \"127.0.0.1:{}\", outbound: \"127.0.0.1:{}\", admin: \"127.0.0.1:{}\"",
        ports[0], ports[1], ports[2]
    );
    let identity = |kind: &str, name: &str| {
        format!(
            "  identity: spiffe://test.example/ns/test/{kind}/{name}\n  tls: {{ certificate: .tamis/certs/{name}.crt, \
             key: .tamis/certs/{name}.key, ca: .tamis/certs/ca.crt }}\n"
        )
    };
    let service = format!("{}{service}", identity("service", "app"));
    let options = FolderOptions {
        listener,
        gateway: &identity("gateway", "edge"),
        service: &service,
        endpoint: &endpoint,
        ..FolderOptions::default()
    };
    Folder::documents_with(&[backend], &options)
}

#[test]
fn proxies_on_the_way_do_not_multiply_the_attempts_of_one_request() {
    let failing = Backend::start();
    failing.answers(Answer::Status(503));
    let folder = mesh(failing.address);
    let running = up(folder.path(), &["--no-apps"]);
    running.event("the mesh is up", |event| event["event"] == "up");
    let before = failing.count();
    assert_eq!(get(&folder.http, "/").status, 503);
    assert_eq!(failing.count() - before, 3, "three attempts are three requests");
    // A client outside the mesh cannot switch retries off.
    let before = failing.count();
    request(&folder.http, "GET", "/", &[("x-tamis-retries", "1")], b"");
    assert_eq!(failing.count() - before, 3);
    let seen = failing.last().unwrap();
    let mark = seen.headers.iter().find(|(name, _)| name == "x-tamis-retries");
    assert_eq!(mark, None, "the application learns nothing of it");
}
