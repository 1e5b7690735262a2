//! Hedges, balancers and connection hooks: policies that are not called for each request.

use crate::guests::{sign_as, traffic};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tamis_e2e::{Answer, Backend, Folder, FolderOptions, RunningProcess, eventually, get, request};

const GRANT: &str = "  request: { attributes: [\"*\"] }\n  limits: { time: 20ms }";

/// A gateway with the guest attached.
fn gateway(endpoints: &[SocketAddr], config: &str, more: &str) -> (Folder, RunningProcess) {
    let folder = Folder::gateway(endpoints);
    if !more.is_empty() {
        folder.write("more.yaml", more);
    }
    sign_as(&folder, traffic(), "test/traffic", "1.0.0");
    folder.attach("traffic", "test/traffic", config, GRANT, "");
    let running = folder.start(&[]);
    folder.slot_state("test/traffic", "serving");
    (folder, running)
}

fn hedges(folder: &Folder, which: &str) -> f64 {
    folder.metric(&[&format!("tamis_upstream_hedges_{which}{{")]).unwrap_or(0.0)
}

#[test]
fn a_second_attempt_answers_for_a_slow_first() {
    let (fast, slow) = (Backend::start(), Backend::start());
    slow.answers(Answer::Slow(Duration::from_secs(30)));
    let (folder, _gateway) =
        gateway(&[fast.address, slow.address], "{ hedge_after_us: 30000 }", "");
    for n in 0..20 {
        let began = Instant::now();
        let reply = request(&folder.http, "PUT", &format!("/{n}"), &[], b"whole");
        assert_eq!(reply.status, 200, "request {n}");
        assert!(began.elapsed() < Duration::from_secs(10), "request {n}");
        assert_eq!(fast.last().unwrap().body, b"whole", "request {n}");
    }
    assert!(hedges(&folder, "total") >= 1.0 && hedges(&folder, "won_total") >= 1.0);
    let record = folder.record("a hedged exchange", |record| {
        record["outcome"].as_array().is_some_and(|words| words.iter().any(|word| word == "hedged"))
    });
    assert_eq!(record["attempts"], 2);
    assert_eq!(record["endpoint"], fast.address.to_string());
    // An endpoint that is overtaken counts as slow, so that few exchanges need a second attempt.
    assert!(slow.count() < 15, "{} of 20 went to the slow one first", slow.count());
    let in_flight = || {
        let upstreams = get(&folder.admin, "/upstreams").json();
        let endpoints = upstreams[0]["endpoints"].as_array().unwrap().clone();
        endpoints.iter().map(|one| one["inFlight"].as_u64().unwrap()).sum::<u64>()
    };
    eventually("the slower attempts are broken off", || (in_flight() == 0).then_some(()));
}

#[test]
fn what_must_not_be_sent_twice_is_not_and_what_is_fast_needs_no_second() {
    let backends = [Backend::start(), Backend::start()];
    let addresses = [backends[0].address, backends[1].address];
    let (folder, _gateway) = gateway(&addresses, "{ hedge_after_us: 100000 }", "");
    let sent = |method: &str| {
        let before: u64 = backends.iter().map(Backend::count).sum();
        assert_eq!(request(&folder.http, method, "/", &[], b"").status, 200);
        backends.iter().map(Backend::count).sum::<u64>() - before
    };
    assert_eq!(sent("GET"), 1, "it is answered at once");
    backends.iter().for_each(|one| one.answers(Answer::Slow(Duration::from_millis(600))));
    assert_eq!(sent("POST"), 1, "not idempotent");
    assert_eq!(sent("GET"), 2);
    assert_eq!(hedges(&folder, "total"), 1.0);
}

#[test]
fn a_failure_of_one_attempt_leaves_the_other_to_answer() {
    let (good, bad) = (Backend::start(), Backend::start());
    good.answers(Answer::Slow(Duration::from_millis(300)));
    bad.answers(Answer::Status(503));
    // No retry and no circuit may help: only the second attempt.
    let options =
        FolderOptions { attempts: 1, consecutive_failures: 0, ..FolderOptions::default() };
    let folder = Folder::gateway_with(&[good.address, bad.address], &options);
    sign_as(&folder, traffic(), "test/traffic", "1.0.0");
    folder.attach("traffic", "test/traffic", "{ hedge_after_us: 20000 }", GRANT, "");
    let _gateway = folder.start(&[]);
    folder.slot_state("test/traffic", "serving");
    // Where the good one is first, the second comes from the bad one, earlier.
    eventually("an exchange begins at the good one", || {
        let before = (good.count(), bad.count());
        let reply = get(&folder.http, "/");
        let both = good.count() > before.0 && bad.count() > before.1;
        assert!(!both || reply.status == 200, "{}", reply.status);
        both.then_some(())
    });
    assert_eq!(hedges(&folder, "won_total"), 0.0);
}

#[test]
fn hedges_are_bounded_by_the_retry_budget() {
    let backends = [Backend::start(), Backend::start()];
    backends.iter().for_each(|one| one.answers(Answer::Slow(Duration::from_millis(40))));
    let policy = "kind: UpstreamPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
         spec:\n  targetRefs: [{ kind: Service, name: app }]\n  retryBudget: { percent: 0, minPerSecond: 1 }\n";
    let addresses = [backends[0].address, backends[1].address];
    let (folder, _gateway) = gateway(&addresses, "{ hedge_after_us: 1000 }", policy);
    let began = Instant::now();
    for _ in 0..40 {
        assert_eq!(get(&folder.http, "/").status, 200);
    }
    // One a second over the ten seconds of the window, and one for each second that fell out of it meanwhile.
    let allowed = 10.0 + began.elapsed().as_secs_f64();
    let (made, refused) = (hedges(&folder, "total"), hedges(&folder, "refused_total"));
    assert!(made >= 5.0 && made <= allowed, "{made} of {allowed} allowed");
    assert!(made + refused >= 40.0 - 1.0, "{made} made, {refused} refused");
}

#[test]
fn hedges_are_planned_from_what_exchanges_took() {
    let (fast, other) = (Backend::start(), Backend::start());
    let (folder, _gateway) =
        gateway(&[fast.address, other.address], "{ hedge_after_p95_of: 30 }", "");
    for _ in 0..10 {
        assert_eq!(get(&folder.http, "/").status, 200);
    }
    assert_eq!(hedges(&folder, "total"), 0.0, "too few to know");
    for _ in 0..200 {
        assert_eq!(get(&folder.http, "/").status, 200);
    }
    // Known now: a few milliseconds. What takes longer is hedged from the next look on.
    [&fast, &other].iter().for_each(|one| one.answers(Answer::Slow(Duration::from_millis(300))));
    eventually("slow exchanges are hedged", || {
        assert_eq!(get(&folder.http, "/").status, 200);
        (hedges(&folder, "total") > 0.0).then_some(())
    });
}

#[test]
fn a_balancer_moves_traffic_and_a_bad_answer_moves_nothing() {
    let (one, other) = (Backend::start(), Backend::start());
    let (folder, _gateway) = gateway(&[one.address, other.address], "{ weights: [1, 0] }", "");
    let takes_all = |taker: &Backend, idle: &Backend, n: u64| {
        let before = (taker.count(), idle.count());
        (0..n).for_each(|_| assert_eq!(get(&folder.http, "/").status, 200));
        (taker.count() - before.0, idle.count() - before.1) == (n, 0)
    };
    eventually("all goes to the first", || takes_all(&one, &other, 30).then_some(()));
    folder.edit("traffic.yaml", "[1, 0]", "[0, 1]");
    eventually("all goes to the second", || takes_all(&other, &one, 30).then_some(()));
    // No endpoint would be left, and then too few: neither stops a request.
    let mut now = "[0, 1]";
    for bad in ["[0, 0]", "[1]"] {
        let generation = folder.generation();
        folder.edit("traffic.yaml", now, bad);
        eventually("the next generation", || (folder.generation() > generation).then_some(()));
        (0..30).for_each(|_| assert_eq!(get(&folder.http, "/").status, 200));
        now = bad;
    }
}

#[test]
fn a_balancer_sees_how_endpoints_do() {
    let (fast, slow) = (Backend::start(), Backend::start());
    slow.answers(Answer::Slow(Duration::from_millis(200)));
    let (folder, _gateway) = gateway(&[fast.address, slow.address], "{ out_when_slower: 5 }", "");
    // Without a balancer the slow one would be tried again: its average decays.
    eventually("the slow one is out", || {
        let before = slow.count();
        (0..50).for_each(|_| assert_eq!(get(&folder.http, "/").status, 200));
        (slow.count() == before && before > 0).then_some(())
    });
}

/// A server that echoes in capitals; not HTTP.
fn shouting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut octets = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut octets) {
                    if stream.write_all(&octets[..length].to_ascii_uppercase()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let endpoints: String =
        endpoints.iter().map(|address| format!("    - address: {address}\n")).collect();
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\n\
         spec:\n  ports: [{{ port: 7, protocol: http }}]\n  endpoints:\n{endpoints}"
    )
}

#[test]
fn a_connection_hook_tunnels_to_a_service() {
    let app = Backend::start();
    let dead = tamis_harness::ports::address();
    // One endpoint is not there: connecting elsewhere is always safe.
    let echo = service("echo", &[dead, shouting()]);
    let (folder, gateway) = gateway(&[app.address], "{ tunnel: [\"test/echo:7\"] }", &echo);
    for _ in 0..6 {
        let mut stream = TcpStream::connect(&folder.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for word in ["hello", "\0\r\n again"] {
            stream.write_all(word.as_bytes()).unwrap();
            let mut back = vec![0; word.len()];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, word.to_ascii_uppercase().as_bytes());
        }
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the other side's close arrives");
    }
    let record = folder.record("a tunnel", |record| record["reason"] == "traffic.told");
    assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&14.into(), &14.into()), "{record}");
    assert_eq!((&record["service"], &record["method"]), (&"test/echo:7".into(), &"CONNECT".into()));
    assert_eq!(app.count(), 0);

    // A tunnel does not outlive a drain.
    let mut stream = TcpStream::connect(&folder.http).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    folder.drain("0");
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(gateway.wait().0.success());
}

#[test]
fn a_connection_that_leads_nowhere_is_closed() {
    let app = Backend::start();
    let dead = tamis_harness::ports::address();
    let config = "{ tunnel: [\"test/echo:7\"] }";
    let (folder, _gateway) = gateway(&[app.address], config, &service("echo", &[dead]));
    let closed = |what: &str| {
        let mut stream = TcpStream::connect(&folder.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "{what}");
    };
    closed("nobody listens there");
    let record = folder.record("the tunnel", |record| record["service"] == "test/echo:7");
    assert_eq!((&record["status"], &record["reason"]), (&503.into(), &"upstream.connect".into()));
    for (from, to) in [
        (config, "{ tunnel: [\"test/nobody:7\"] }"),
        ("{ tunnel: [\"test/nobody:7\"] }", "{ tunnel: [\"test/echo:7\"], backend: 9 }"),
        ("{ tunnel: [\"test/echo:7\"], backend: 9 }", "{ deny: true }"),
    ] {
        let generation = folder.generation();
        folder.edit("traffic.yaml", from, to);
        eventually("the next generation", || (folder.generation() > generation).then_some(()));
        closed(to);
    }
    assert_eq!(app.count(), 0);
}
