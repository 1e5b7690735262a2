//! Datagrams that a gateway carries unread: sessions, their shares and bounds, guards, and changes under traffic.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tamis_e2e::{Folder, RunningProcess, eventually, free_port, get, tamis};

/// Nothing of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server over UDP that answers each question with its name, the port that it came from, and the question.
struct Answerer {
    address: SocketAddr,
    socket: UdpSocket,
}

impl Answerer {
    fn start(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, own) = (socket.local_addr().unwrap(), socket.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut room = vec![0; 65_535];
            while let Ok((length, from)) = socket.recv_from(&mut room) {
                if &room[..length] == b"silence" {
                    continue;
                }
                let mut answer = format!("{name} {} ", from.port()).into_bytes();
                answer.extend(&room[..length]);
                // Nobody may be there any more.
                let _gone = socket.send_to(&answer, from);
            }
        });
        Self { address, socket: own }
    }
}

/// A gateway `datagrams` with a listener `dns` for UDP.
struct Edge {
    folder: Folder,
    admin: String,
    port: u16,
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    let api = match kind {
        "Service" => "tamis.dev/v1alpha1",
        "UDPRoute" => "gateway.networking.k8s.io/v1alpha2",
        _ => "gateway.networking.k8s.io/v1",
    };
    format!(
        "---\nkind: {kind}\napiVersion: {api}\nmetadata: {{ name: {name}, namespace: test }}\nspec: {{ {spec} }}\n"
    )
}

fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let each: Vec<String> =
        endpoints.iter().map(|address| format!("{{ address: \"{address}\" }}")).collect();
    let endpoints = each.join(", ");
    let spec = format!("ports: [{{ port: 53, protocol: udp }}], endpoints: [{endpoints}]");
    document("Service", name, &spec)
}

fn route(backends: &str) -> String {
    let parent = "{ name: datagrams, sectionName: dns }";
    let spec = format!("parentRefs: [{parent}], rules: [{{ backendRefs: [{backends}] }}]");
    document("UDPRoute", "r", &spec)
}

impl Edge {
    /// With fields of its listener, more listeners, and these documents.
    fn new(fields: &str, more: &str, documents: &str) -> Self {
        let folder = Folder::documents(&["127.0.0.1:1".parse().unwrap()]);
        let (port, admin) = (free_port(), format!("127.0.0.1:{}", free_port()));
        let edge = Self { folder, admin, port };
        edge.listen(fields, more);
        edge.folder.write("routes.yaml", documents);
        edge.folder.prepare();
        edge
    }

    fn listen(&self, fields: &str, more: &str) {
        let Self { folder, admin, port } = self;
        let spec = format!(
            "admin: \"{admin}\", listeners: [{{ name: dns, port: {port}, protocol: UDP{fields} }}{more}]"
        );
        folder.write("datagrams.yaml", &document("Gateway", "datagrams", &spec));
    }

    fn start(&self, more: &[&str]) -> RunningProcess {
        let all = ["proxy", "--node", "gateway:test/datagrams", "--documents", "."];
        let rest = ["--store", ".tamis/store", "--cache", ".tamis/cache", "--run-folder", "run"];
        let log = ["--access-log-file", "access.jsonl", "--workers", "2"];
        let all = [&all[..], &rest, &log, more].concat();
        let running = RunningProcess::start(self.folder.path(), &all);
        running.event("it serves", |event| event["event"] == "ready");
        running
    }

    /// A client that sends to the listener.
    fn client(&self) -> UdpSocket {
        self.client_at("127.0.0.1")
    }

    fn client_at(&self, address: &str) -> UdpSocket {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn records(&self) -> Vec<Value> {
        let text = self.folder.read("access.jsonl");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn record(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.records().into_iter().find(&is))
    }

    /// The sum of a metric's series with all of these parts.
    fn metric(&self, name: &str, parts: &[&str]) -> f64 {
        let text = get(&self.admin, "/metrics").body;
        let series = text.lines().filter(|line| {
            line.starts_with(&format!("{name}{{")) && parts.iter().all(|part| line.contains(part))
        });
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// Asks, and returns the name and the port that the answer states.
fn ask(client: &UdpSocket, question: &str) -> (String, String) {
    client.send(question.as_bytes()).unwrap();
    let mut room = vec![0; 65_535];
    let length = client.recv(&mut room).unwrap();
    let answer = String::from_utf8_lossy(&room[..length]).into_owned();
    let mut words = answer.splitn(3, ' ');
    let (name, port) = (words.next().unwrap(), words.next().unwrap());
    assert_eq!(words.next(), Some(question), "the answer is to the question");
    (name.to_owned(), port.to_owned())
}

/// Asks until there is an answer, as clients over UDP do.
fn ask_again(edge: &Edge, what: &str) -> String {
    eventually(what, || answered(&edge.client()))
}

/// The name in the answer to one question, if there is one soon.
fn answered(client: &UdpSocket) -> Option<String> {
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    client.send(b"anybody").unwrap();
    let mut room = [0; 512];
    let length = client.recv(&mut room).ok()?;
    Some(String::from_utf8_lossy(&room[..length]).split(' ').next()?.to_owned())
}

#[test]
fn a_session_keeps_its_endpoint_and_its_own_socket_and_is_recorded_when_it_ends() {
    let (one, two) = (Answerer::start("one"), Answerer::start("two"));
    let documents = service("dns", &[one.address, two.address]) + &route("{ name: dns }");
    let edge = Edge::new(", idleTimeout: 1s", "", &documents);
    let _gateway = edge.start(&[]);
    let clients: Vec<UdpSocket> = (0..20).map(|_| edge.client()).collect();
    let mut ports = BTreeSet::new();
    for client in &clients {
        let first = ask(client, "a");
        let again: BTreeSet<_> =
            ["b", "", &"x".repeat(9_000), "c"].iter().map(|text| ask(client, text)).collect();
        assert_eq!(again, BTreeSet::from([first.clone()]), "one endpoint, over one socket");
        assert!(ports.insert(first.1), "nobody else has that socket");
    }
    assert_eq!(edge.metric("tamis_udp_sessions_total", &["listener=\"dns\""]), 20.0);
    let record = edge.record("a session ends", |one| one["listener"] == "dns");
    assert_eq!((&record["status"], &record["service"]), (&200.into(), &"test/dns:53/udp".into()));
    assert_eq!(record["bytes_in"], 9_003);
    assert!(record["bytes_out"].as_u64() > Some(9_003) && record["reason"].is_null(), "{record}");
    eventually("all end", || (edge.metric("tamis_udp_sessions", &[]) == 0.0).then_some(()));
    for (sender, least) in [("client", 100.0), ("service", 100.0)] {
        let of = format!("sender=\"{sender}\"");
        assert_eq!(edge.metric("tamis_udp_datagrams_total", &[&of]), least, "{sender}");
    }
    // What the endpoint says after that is for nobody.
    let late: u16 = ports.iter().next().unwrap().parse().unwrap();
    for server in [&one, &two] {
        server.socket.send_to(b"late", ("127.0.0.1", late)).unwrap();
    }
    for client in &clients {
        client.set_nonblocking(true).unwrap();
        assert!(client.recv(&mut [0; 16]).is_err(), "nothing was asked");
    }
}

#[test]
fn sessions_are_shared_by_weight_and_the_share_of_what_is_missing_is_dropped() {
    let (one, two) = (Answerer::start("one"), Answerer::start("two"));
    let shares = "{ name: one, weight: 1 }, { name: two, weight: 2 }, { name: gone, weight: 1 }";
    let documents = |backends: &str| {
        service("one", &[one.address]) + &service("two", &[two.address]) + &route(backends)
    };
    let edge = Edge::new("", "", &documents(shares));
    let gateway = edge.start(&[]);
    let clients: Vec<UdpSocket> = (0..200).map(|_| edge.client()).collect();
    for client in &clients {
        client.set_nonblocking(true).unwrap();
        client.send(b"who").unwrap();
    }
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let (mut room, mut answers) = ([0; 64], 0);
    let dropped = eventually("each is answered or dropped", || {
        for client in &clients {
            while let Ok(length) = client.recv(&mut room) {
                let answer = String::from_utf8_lossy(&room[..length]).into_owned();
                *counts.entry(answer.split(' ').next().unwrap().to_owned()).or_default() += 1;
                answers += 1;
            }
        }
        let dropped = edge.metric("tamis_udp_dropped_total", &["reason=\"refused\""]);
        (f64::from(answers) + dropped >= 200.0).then_some(dropped)
    });
    assert_eq!(f64::from(answers) + dropped, 200.0);
    // The shares are 50, 100 and 50; these bounds are five deviations wide.
    assert!((20..81).contains(&counts["one"]) && (65..136).contains(&counts["two"]), "{counts:?}");
    assert!((20.0..81.0).contains(&dropped), "{dropped}");
    let refused = edge.record("a refusal", |one| one["reason"] == "upstream.no-endpoint");
    assert_eq!((&refused["listener"], &refused["status"]), (&"dns".into(), &503.into()));
    // However often such a client asks, its share does not come to the others.
    let lost: Vec<&UdpSocket> =
        clients.iter().filter(|client| client.recv(&mut [0; 64]).is_err()).collect();
    assert!(lost.len() == 200);
    for client in &clients {
        client.send(b"again").unwrap();
    }
    eventually("as many are dropped again", || {
        let now = edge.metric("tamis_udp_dropped_total", &["reason=\"refused\""]);
        (now == dropped * 2.0).then_some(())
    });
    // Without a weight nobody gets any.
    edge.folder.write("routes.yaml", &documents("{ name: one, weight: 0 }"));
    gateway.event("it takes the route", |event| {
        event["event"] == "reload" && event.to_string().matches("gone").count() == 0
    });
    eventually("nobody gets any", || answered(&edge.client()).is_none().then_some(()));
    let refused = edge.record("a refusal", |one| one["reason"] == "udp.unrouted");
    assert_eq!(refused["status"], 503);
    edge.folder.write("routes.yaml", &documents("{ name: two }"));
    assert_eq!(ask_again(&edge, "a route is back"), "two");
}

#[test]
fn changes_and_a_new_process_under_traffic_lose_no_datagram() {
    let (one, two) = (Answerer::start("one"), Answerer::start("two"));
    let documents = |backends: &str| {
        service("one", &[one.address]) + &service("two", &[two.address]) + &route(backends)
    };
    let edge = Edge::new("", "", &documents("{ name: one }"));
    let old = edge.start(&["--lame-duck-seconds", "1"]);
    let (stop, asked, fresh) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // It answers until the last client has its answer.
    let _new = std::thread::scope(|scope| {
        for number in 0..8 {
            let (edge, stop, asked, fresh) = (&edge, &stop, &asked, &fresh);
            scope.spawn(move || {
                let mut client = edge.client();
                let mut round = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    // Each question waits for its answer, and none is asked twice.
                    ask(&client, &format!("{number}-{round}"));
                    asked.fetch_add(1, Ordering::Relaxed);
                    round += 1;
                    if round.is_multiple_of(50) {
                        client = edge.client();
                        fresh.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let more = |what: &str| {
            let from = (asked.load(Ordering::Relaxed), fresh.load(Ordering::Relaxed));
            eventually(what, || {
                let now = (asked.load(Ordering::Relaxed), fresh.load(Ordering::Relaxed));
                (now.0 > from.0 + 400 && now.1 > from.1 + 4).then_some(())
            });
        };
        more("it serves");
        for (backends, port) in
            [("{ name: one }, { name: two }", free_port()), ("{ name: two }", free_port())]
        {
            edge.folder.write("routes.yaml", &documents(backends));
            edge.listen("", &format!(", {{ name: other, port: {port}, protocol: UDP }}"));
            more("it serves after a change");
            // A port that one process is about to bind is no port that it can hand over.
            eventually("the listener is there", || {
                get(&edge.admin, "/routes").body.contains(&port.to_string()).then_some(())
            });
        }
        eventually("new sessions follow the route", || {
            (ask(&edge.client(), "q").0 == "two").then_some(())
        });
        let new = edge.start(&["--take-over"]);
        more("both, or the new one, serve");
        let (status, said) = old.wait();
        assert!(status.success(), "{said}");
        more("the new one serves alone");
        stop.store(true, Ordering::Relaxed);
        new
    });
    for reason in ["full", "waiting", "draining", "unsent", "refused"] {
        let of = format!("reason=\"{reason}\"");
        assert_eq!(edge.metric("tamis_udp_dropped_total", &[&of]), 0.0, "{reason}");
    }
}

#[test]
fn a_policy_decides_about_sessions_and_ends_those_that_it_refuses_since_a_change() {
    let one = Answerer::start("one");
    let edge = Edge::new("", "", &(service("one", &[one.address]) + &route("{ name: one }")));
    edge.folder.write("authz.yaml", super::authorization::SWITCH);
    let policy = |address: &str| {
        super::authorization::policy(
            "test",
            "edge",
            "{ kind: Gateway, name: datagrams }",
            &format!("  allow: [{{ addresses: [{address}], ports: [{}] }}]\n", edge.port),
        )
    };
    edge.folder.write("policy.yaml", &policy("127.0.0.2"));
    edge.folder.prepare();
    let _gateway = edge.start(&[]);
    let (near, far) = (edge.client_at("127.0.0.2"), edge.client_at("127.0.0.3"));
    assert_eq!(ask(&near, "a").0, "one");
    far.send(b"a").unwrap();
    let refused = edge.record("the refusal", |one| one["source"].to_string().contains("127.0.0.3"));
    assert_eq!((&refused["status"], &refused["reason"]), (&403.into(), &"authz.no-rule".into()));
    assert!(edge.metric("tamis_udp_dropped_total", &["reason=\"refused\""]) >= 1.0);
    // The other way round: a client that was refused may ask, and an open session ends.
    edge.folder.write("policy.yaml", &policy("127.0.0.3"));
    eventually("it is answered", || answered(&far));
    let revoked = edge.record("the open session", |one| one["reason"] == "connection.revoked");
    assert!(revoked["source"].to_string().contains("127.0.0.2"), "{revoked}");
    near.send(b"b").unwrap();
    edge.record("it is refused", |one| {
        one["reason"] == "authz.no-rule" && one["source"].to_string().contains("127.0.0.2")
    });
    near.set_nonblocking(true).unwrap();
    assert!(near.recv(&mut [0; 16]).is_err());
}

#[test]
fn a_listener_that_leads_to_itself_or_is_named_as_the_sender_goes_round_once() {
    let documents = |port| {
        let own = SocketAddr::from(([127, 0, 0, 1], port));
        service("self", &[own]) + &route("{ name: self, port: 53 }")
    };
    let edge = Edge::new("", "", &documents(1));
    edge.folder.write("routes.yaml", &documents(edge.port));
    let _running = edge.start(&[]);
    let client = edge.client();
    for sent in 1..=20 {
        client.send(b"a").unwrap();
        eventually("each is dropped where it comes back", || {
            let dropped = edge.metric("tamis_udp_dropped_total", &["reason=\"loop\""]);
            (dropped >= f64::from(sent)).then_some(())
        });
    }
    assert!(edge.metric("tamis_udp_dropped_total", &["reason=\"loop\""]) <= 20.0);
    let sent = edge.metric("tamis_udp_datagrams_total", &["sender=\"client\""]);
    assert!((19.0..=20.0).contains(&sent), "none was sent on twice: {sent}");
}

#[test]
fn a_client_that_is_refused_is_asked_about_a_few_times_however_many_ports_it_has() {
    const PORTS: u32 = 400;
    let one = Answerer::start("one");
    let edge = Edge::new("", "", &(service("one", &[one.address]) + &route("{ name: one }")));
    edge.folder.write("authz.yaml", super::authorization::SWITCH);
    let allow = format!("  allow: [{{ addresses: [127.0.0.2], ports: [{}] }}]\n", edge.port);
    let to = "{ kind: Gateway, name: datagrams }";
    edge.folder.write("policy.yaml", &super::authorization::policy("test", "edge", to, &allow));
    edge.folder.prepare();
    let _gateway = edge.start(&[]);
    let calls = || edge.metric("tamis_filter_calls_total", &["hook=\"connection\""]);
    // Whatever the reason: where the hook takes long, few wait for it.
    let dropped = || edge.metric("tamis_udp_dropped_total", &[]);
    eventually("the hook is asked about few of many ports", || {
        let (asked, lost) = (calls(), dropped());
        let ports: Vec<UdpSocket> = (0..PORTS).map(|_| edge.client_at("127.0.0.3")).collect();
        for port in &ports {
            port.send(b"a").unwrap();
        }
        eventually("each is dropped", || (dropped() >= lost + f64::from(PORTS)).then_some(()));
        // Each of two workers asks about sixteen in a second.
        let asked = calls() - asked;
        (asked >= 1.0 && asked < f64::from(PORTS / 2)).then_some(())
    });
    assert_eq!(ask(&edge.client_at("127.0.0.2"), "a").0, "one", "another is asked about");
}

#[test]
fn a_client_has_half_of_the_sessions_of_a_listener_and_gone_endpoints_are_left() {
    let one = Answerer::start("one");
    // Nobody listens there.
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let documents = service("one", &[one.address, gone]) + &route("{ name: one }");
    let edge = Edge::new(", maxConnections: 2, idleTimeout: 1h", "", &documents);
    let _gateway = edge.start(&[]);
    // A client that asks again gets to the endpoint that is there.
    let first = edge.client_at("127.0.0.2");
    eventually("it is answered", || answered(&first));
    let second = edge.client_at("127.0.0.2");
    second.send(b"more").unwrap();
    let full = edge.record("its share is used up", |one| one["reason"] == "udp.full");
    assert_eq!(full["status"], 503);
    assert!(full["detail"].to_string().contains("its share of the 2"), "{full}");
    let third = edge.client_at("127.0.0.3");
    eventually("others have theirs", || answered(&third));
    let fourth = edge.client_at("127.0.0.4");
    fourth.send(b"more").unwrap();
    edge.record("all are used up", |one| one["detail"].to_string().contains("its maximum"));
    assert!(edge.metric("tamis_udp_dropped_total", &["reason=\"full\""]) >= 2.0);
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&first, "open sessions go on");
}

#[test]
fn a_gone_endpoint_is_recorded_and_a_removed_listener_ends_its_sessions() {
    let one = Answerer::start("one");
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let documents = service("one", &[gone]) + &route("{ name: one }");
    let edge = Edge::new(", idleTimeout: 1h", "", &documents);
    let gateway = edge.start(&[]);
    let client = edge.client();
    client.send(b"a").unwrap();
    let failed = edge.record("nobody is there", |one| one["reason"] == "upstream.connect");
    assert_eq!((&failed["endpoint"], &failed["bytes_in"]), (&gone.to_string().into(), &1.into()));
    edge.folder.write("routes.yaml", &(service("one", &[one.address]) + &route("{ name: one }")));
    eventually("it is answered", || answered(&client));
    edge.folder.write(
        "datagrams.yaml",
        &document(
            "Gateway",
            "datagrams",
            &format!(
                "admin: \"{}\", listeners: [{{ name: other, port: {}, protocol: UDP }}]",
                edge.admin,
                free_port()
            ),
        ),
    );
    let removed = edge.record("its session ends", |one| one["reason"] == "udp.removed");
    assert_eq!(removed["status"], 200);
    // Its port is free again.
    eventually("nobody has it", || UdpSocket::bind(("127.0.0.1", edge.port)).ok());
    drop(gateway);
}

#[test]
fn a_mistake_is_one_clear_error_with_its_place_and_everything_else_serves_on() {
    let one = Answerer::start("one");
    let good = service("one", &[one.address])
        + &document(
            "Service",
            "web",
            "ports: [{ port: 80, protocol: http }], endpoints: [{ address: \"127.0.0.1:1\" }]",
        )
        + &route("{ name: one }");
    let edge = Edge::new("", "", &good);
    let gateway = edge.start(&[]);
    let client = edge.client();
    assert_eq!(ask(&client, "a").0, "one");
    let other = |backends: &str| route(backends).replace("name: r,", "name: x,");
    for (what, text, code, says) in [
        (
            "an unknown field",
            other("{ name: one }").replace("rules:", "hostnames: [a.example], rules:"),
            "field.unknown",
            "hostnames",
        ),
        (
            "a missing Service",
            other("{ name: gone }"),
            "route.backend",
            "there is no Service test/gone",
        ),
        (
            "another protocol",
            other("{ name: web }"),
            "route.backend",
            "no port with `protocol: udp`",
        ),
        (
            "a missing listener",
            other("{ name: one }").replace("sectionName: dns", "sectionName: gone"),
            "route.parent",
            "no listener with this section",
        ),
        ("a second route", other("{ name: one }"), "route.conflict", "has more than one route"),
        (
            "two rules",
            other("{ name: one }")
                .replace("rules: [", "rules: [{ backendRefs: [{ name: one }] }, "),
            "field.range",
            "rules",
        ),
        (
            "a version that is not that of the kind",
            other("{ name: one }").replace("v1alpha2", "v1"),
            "document.version",
            "v1alpha2",
        ),
    ] {
        edge.folder.write("bad.yaml", &text);
        let checked = tamis(edge.folder.path(), &["check", ".", "--output", "json"]);
        let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
        let problems = found["problems"].as_array().unwrap();
        let of = problems.iter().filter(|one| one["place"]["source"] == "bad.yaml");
        let of: Vec<&Value> = of.collect();
        assert!(!checked.status.success() && !of.is_empty(), "{what}: {found}");
        assert!(
            of.iter().any(|one| one["code"] == code && one.to_string().contains(says)),
            "{what}: {of:#?}"
        );
        gateway.event(what, |event| event["problems"].to_string().contains(says));
        assert_eq!(ask(&client, what).0, "one", "{what}");
        std::fs::remove_file(edge.folder.file("bad.yaml")).unwrap();
    }
}
