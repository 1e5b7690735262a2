//! A filter that does one bad thing in one place, as its configuration says: `{"at": "on-route", "do": "loop"}`. Exchange
//! 0 and what else the host's self-test asks is answered well, so that it comes as far as serving.

use std::cell::Cell;
use std::mem::ManuallyDrop;

use tamis_sdk::types::{Attribute, Edit, Field, Reply};
use tamis_sdk::{
    Balancer, BodyMode, CircuitBreaker, ConfigError, Connection, Filter, Hedge, Interest, Kept,
    Request, RequestBody, Response, ResponseBody, Retry, Router, Telemetry, Tick, View, balancer,
    circuit_breaker, connection, crypto, hedge, http_client, kv, log, metrics, records, reply,
    request, request_body, response, response_body, retry, router, secrets, spans, telemetry,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The function that misbehaves.
    at: String,
    r#do: String,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
    /// Whether `configure` takes some time of a processor.
    #[serde(default)]
    slowly: bool,
}

struct Rogue {
    at: String,
    does: String,
    series: u32,
    waste: Vec<Vec<u8>>,
}

thread_local! {
    /// Calls of hooks that know no exchange; the first of each is the self-test's.
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

/// Panics when it is dropped: a trap after the answer was made.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

impl Rogue {
    /// Does what the configuration states for this place, unless this is the self-test.
    fn at(&mut self, place: &str, tested: bool) {
        if self.at != place || tested {
            return;
        }
        match self.does.as_str() {
            "loop" => spin(),
            "trap" => panic!("told to"),
            "trap-in-drop" => drop(Mine),
            "recurse" => drop(std::hint::black_box(recurse(1))),
            "grow" => loop {
                self.waste.push(vec![1; 1 << 20]);
            },
            "send-said" => panic!("{:?}", send("GET", "https://idp.example/keys").err()),
            "send-what-is-denied" => loop {
                std::hint::black_box(send("GET", "https://no.example/").is_err());
            },
            "send-what-is-malformed" => loop {
                std::hint::black_box(send("GET", "no").is_err());
            },
            "send-for-ever" => loop {
                std::hint::black_box(send("GET", "https://idp.example/keys").is_err());
            },
            "hash-flood" => loop {
                std::hint::black_box(crypto::hash(crypto::Digest::Sha512, &vec![7; 12 << 20]));
            },
            "log-flood" => (0..100_000).for_each(|_| log::write(log::Level::Error, "\u{1b}[2J")),
            "kv-flood" => {
                for n in 0..20_000_u32 {
                    let _ = kv::write(&n.to_string(), &[0; 4096], 0);
                }
                // The limits themselves, and one more.
                assert!(kv::write(&"k".repeat(512), &[0; 4096], 0).is_err(), "full by now");
                assert!(kv::write(&"k".repeat(513), b"", 0).is_err());
                assert!(kv::write("0", &vec![0; 65_537], 0).is_err());
                assert!(kv::read("no\0such").is_none());
            }
            "spans-flood" => {
                let attributes: Vec<_> =
                    (0..1_000).map(|n| attribute(&format!("{n}"), &"\u{1}".repeat(64))).collect();
                for _ in 0..32 {
                    spans::emit(&[spans::Span {
                        exchange: u64::MAX,
                        name: "n".repeat(1 << 20),
                        start_unix_us: u64::MAX,
                        duration_us: u32::MAX,
                        attributes: attributes.clone(),
                    }]);
                }
                records::emit(&attributes);
            }
            "series-flood" => {
                for n in 0..200_000_u32 {
                    metrics::series(self.series, &[n.to_string()]);
                }
            }
            "define-late" => {
                let late = metrics::define(metrics::Kind::Counter, "late", "Late.", &[]);
                assert!(late.is_err());
            }
            "handles" => metrics::add(u32::MAX, 1.0),
            "secret-handles" => drop(secrets::equals(u32::MAX, b"a")),
            "secrets-of-others" => {
                for name in ["", "db", "other", "../db", "db\0"] {
                    assert!(secrets::open(name).is_err(), "{name}");
                }
                panic!("none is opened");
            }
            "reach" => {
                for url in [
                    "http://127.0.0.1:15000/config",
                    "https://127.0.0.1:15000/config",
                    "http://[::1]/",
                    "http://169.254.169.254/latest/meta-data/",
                    "http://localhost/",
                    "https://idp.example@127.0.0.1/",
                    "https://127.0.0.1\\@idp.example/",
                    "https://idp.example#@127.0.0.1/",
                    "https://idp.example:@127.0.0.1/",
                    "https://idp.example.127.0.0.1.nip.io/",
                    "https://idp.example.:443/",
                    "https://idp.example:/",
                    "https://idp.example:0443/",
                    "https://idp.example:443:80/",
                    "//idp.example/",
                    "file:///etc/passwd",
                    "unix:///run/tamis",
                    "HTTPS://idp.example/",
                    "https:idp.example/",
                    "https://\u{ff49}dp.example/",
                    "https://idp.example\r\nhost: a/",
                    "",
                ] {
                    if let Err(failure) = send("GET", url) {
                        assert!(
                            matches!(failure, http_client::Failure::Denied(_)),
                            "{url}: {failure:?}"
                        );
                    } else {
                        panic!("{url} was sent");
                    }
                }
                for method in ["CONNECT", "connect", "Connect", "", "GET / HTTP/1.1\r\nx: y", "G T"]
                {
                    let failure = send(method, "https://idp.example/").unwrap_err();
                    assert!(
                        matches!(failure, http_client::Failure::Denied(_)),
                        "{method}: {failure:?}"
                    );
                }
                panic!("none was sent");
            }
            _ => {}
        }
    }

    fn does_at(&self, place: &str, tested: bool) -> Option<&str> {
        (self.at == place && !tested).then_some(self.does.as_str())
    }

    fn edits(&self, place: &str, tested: bool) -> Vec<Edit> {
        match self.does_at(place, tested) {
            Some("many-edits") => (0..2_000).map(|_| Edit::remove("x-a")).collect(),
            Some("odd-names") => {
                ["", ":path", "x\0a", "X-A", "x a", "a:b", "\u{e4}", "host", "x-tamis-a"]
                    .map(|name| Edit::set(name, "1"))
                    .into()
            }
            Some("odd-values") => [&b"a\r\nb: c"[..], b"\0", b"\x7f", b"a\nb"]
                .map(|value| Edit::set("x-a", value))
                .into(),
            Some("overlapping") => {
                let long = "a".repeat(70_000);
                vec![
                    Edit::set("x-a", long.clone()),
                    Edit::remove("x-a"),
                    Edit::add("x_a", long.clone()),
                    Edit::set("x-a", long),
                ]
            }
            Some("no-utf8") => vec![Edit::SetPath(no_utf8())],
            Some("facts") => [
                "peer.spiffe-id",
                "@peer.spiffe-id",
                "@@peer.spiffe-id",
                "Peer.spiffe-id",
                "source.address",
                "connection.id",
                "tls.sni",
                "listener.name",
                "route.name",
                "upstream.name",
                "tamis.x",
                "destination.port",
                "",
                "a\nb",
                "a b",
            ]
            .map(|name| Edit::attribute(name, "forged"))
            .into(),
            _ => Vec::new(),
        }
    }

    fn reply(&self, place: &str, tested: bool) -> Option<Reply> {
        Some(match self.does_at(place, tested)? {
            "reply-beyond" => Reply { status: 200, headers: Vec::new(), body: beyond() },
            "reply-64k-headers" => {
                let field = Field { name: "x-a".into(), value: b"a".to_vec() };
                Reply { status: 200, headers: vec![field; 65_536], body: Vec::new() }
            }
            "secret" => match secrets::open("db") {
                Ok(handle) => {
                    reply(200).text(format!("equal: {}", secrets::equals(handle, b"hunter2")))
                }
                Err(why) => reply(200).text(why),
            },
            "reply-huge" => reply(200).body(vec![0; 8 << 20]),
            "reply-0" => reply(0),
            "reply-65535" => reply(65_535),
            _ => return None,
        })
    }
}

fn attribute(name: &str, value: &str) -> Attribute {
    Attribute { name: name.to_owned(), value: value.to_owned() }
}

fn send(method: &str, url: &str) -> Result<http_client::Incoming, http_client::Failure> {
    http_client::send(&http_client::Outgoing {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 0,
    })
}

/// Octets that are none of this memory's: the host reads them, and finds out.
fn beyond() -> Vec<u8> {
    let own = ManuallyDrop::new(vec![0_u8; 8]);
    // SAFETY: none. The host must not believe a length; this instance ends with the answer.
    unsafe { Vec::from_raw_parts(own.as_ptr().cast_mut(), usize::MAX / 2, usize::MAX / 2) }
}

fn no_utf8() -> String {
    // SAFETY: none. It is what the host must not believe; this instance ends with the answer.
    unsafe { String::from_utf8_unchecked(vec![b'/', 0xff, 0xc0, 0x80]) }
}

impl Filter for Rogue {
    type Settings = Settings;
    const SCHEMA: &'static str = r#"{"type":"object"}"#;

    fn check(settings: &Settings) -> Result<(), Vec<ConfigError>> {
        match (settings.at.as_str(), settings.r#do.as_str()) {
            ("validate", "loop") => spin(),
            ("validate", "trap") => panic!("told to"),
            ("validate", "grow") => drop(std::hint::black_box(vec![1_u8; 1 << 30])),
            ("validate", "import") => drop(kv::read("a")),
            ("validate", "many-errors") => {
                let error = || ConfigError {
                    pointer: "/\u{1b}[2J".into(),
                    message: "m\n\u{202e}".repeat(500),
                };
                return Err((0..500).map(|_| error()).collect());
            }
            _ => {}
        }
        Ok(())
    }

    fn configure(settings: Settings) -> Result<(Self, Interest), Vec<ConfigError>> {
        if settings.slowly {
            std::hint::black_box((0..SLOWLY).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
        }
        if settings.r#do.ends_with("-said") {
            tamis_sdk::log_panics();
        }
        match (settings.at.as_str(), settings.r#do.as_str()) {
            ("configure", "loop") => spin(),
            ("configure", "trap") => panic!("told to"),
            ("configure", "grow") => drop(std::hint::black_box(vec![1_u8; 1 << 30])),
            ("configure", "send") => {
                let denied = send("GET", "https://idp.example/");
                assert!(matches!(denied, Err(http_client::Failure::Denied(_))));
                panic!("it was denied");
            }
            ("configure", "squat") => {
                for name in ["tamis_ready", "tamis_requests_total", "", "a b", "a\nb", "é", "1a"] {
                    if let Ok(family) = metrics::define(metrics::Kind::Gauge, name, "Squats.", &[])
                    {
                        metrics::set(metrics::series(family, &[]), 666.0);
                    }
                }
            }
            ("configure", "metrics-flood") => {
                let labels: Vec<_> = (0..16).map(|n| format!("l{n}")).collect();
                for n in 0..200 {
                    let _ = metrics::define(
                        metrics::Kind::Histogram,
                        &format!("h{n}"),
                        &"h".repeat(1_000),
                        &labels,
                    );
                }
            }
            _ => {}
        }
        let family =
            metrics::define(metrics::Kind::Counter, "rogue_total", "Seen.", &["n".to_owned()]);
        let series = family.map_or(0, |family| metrics::series(family, &["0".to_owned()]));
        // Only hooks on whole bodies may ever call out.
        let (bodies, limit) = match settings.r#do.as_str() {
            "send-said" => (BodyMode::Buffered, 1_024),
            _ => (BodyMode::Chunks, 0),
        };
        let mut interest = Interest::reading(settings.reads.iter().map(String::as_str))
            .writing(settings.writes.iter().map(String::as_str))
            .buffering(bodies, bodies, limit);
        match settings.r#do.as_str() {
            "reads-1000" => interest.reads = (0..1_000).map(|n| format!("x-{n}")).collect(),
            "writes-1000" => interest.writes = (0..1_000).map(|n| format!("x-{n}")).collect(),
            "writes-control" => interest.writes = vec!["x\u{1b}[2J".to_owned()],
            _ => {}
        }
        let Settings { at, r#do: does, .. } = settings;
        Ok((Self { at, does, series, waste: Vec::new() }, interest))
    }
}

impl Request for Rogue {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let tested = seen.exchange() == 0;
        self.at("on-request", tested);
        match self.does_at("on-request", tested) {
            Some("long-reason") => return request::Decision::pass().because("a".repeat(1 << 20)),
            Some("reason-no-utf8") => return request::Decision::pass().because(no_utf8()),
            _ => {}
        }
        match self.reply("on-request", tested) {
            Some(reply) => request::Decision::answer(reply),
            None => request::Decision::change(self.edits("on-request", tested)),
        }
    }
}

impl Response for Rogue {
    fn on_response(&mut self, seen: View<'_>) -> response::Decision {
        let tested = seen.exchange() == 0;
        self.at("on-response", tested);
        match self.reply("on-response", tested) {
            Some(reply) => response::Decision::answer(reply),
            None => response::Decision::change(self.edits("on-response", tested)),
        }
    }
}

impl RequestBody for Rogue {
    fn on_request_body(
        &mut self,
        seen: View<'_>,
        octets: &[u8],
        _last: bool,
    ) -> request_body::Decision {
        self.at("on-request-body", seen.exchange() == 0);
        match self.does_at("on-request-body", seen.exchange() == 0) {
            Some("replace-beyond") => request_body::Decision::replace(beyond()),
            Some("replace-huge") => {
                request_body::Decision::replace(vec![0; octets.len() + (1 << 20) + 1])
            }
            _ => match self.reply("on-request-body", seen.exchange() == 0) {
                Some(reply) => request_body::Decision::answer(reply),
                None => request_body::Decision::pass(),
            },
        }
    }
}

impl ResponseBody for Rogue {
    fn on_response_body(
        &mut self,
        seen: View<'_>,
        octets: &[u8],
        _last: bool,
    ) -> response_body::Decision {
        self.at("on-response-body", seen.exchange() == 0);
        match self.does_at("on-response-body", seen.exchange() == 0) {
            Some("replace-beyond") => response_body::Decision::replace(beyond()),
            Some("replace-huge") => {
                response_body::Decision::replace(vec![0; octets.len() + (1 << 20) + 1])
            }
            _ => match self.reply("on-response-body", seen.exchange() == 0) {
                Some(reply) => response_body::Decision::answer(reply),
                None => response_body::Decision::pass(),
            },
        }
    }
}

impl Router for Rogue {
    fn backends(&self) -> Vec<String> {
        match self.does_at("backends", false) {
            Some("many") => vec!["a/b:1".to_owned(); 20_000],
            Some("long") => vec!["a".repeat(2_000)],
            Some("control") => vec!["a/b\n:1".to_owned()],
            _ => vec!["shop/cart:80".to_owned()],
        }
    }

    fn rules(&self) -> Vec<String> {
        match self.does_at("rules", false) {
            Some("many") => vec!["r".to_owned(); 20_000],
            Some("long") => vec!["r".repeat(2_000)],
            Some("control") => vec!["r\u{1b}[2J".to_owned()],
            Some("no-utf8") => vec![no_utf8()],
            _ => vec!["shop/all/0".to_owned()],
        }
    }

    fn on_route(&mut self, seen: View<'_>) -> router::Choice {
        let tested = seen.exchange() == 0;
        self.at("on-route", tested);
        let mut selection = router::Selection {
            rule: 0,
            backend: 0,
            request_timeout_ms: u32::MAX,
            attempt_timeout_ms: u32::MAX,
            hash: Some(u64::MAX),
            request_edits: self.edits("on-route", tested),
            response_edits: Vec::new(),
            mirrors: Vec::new(),
        };
        match self.does_at("on-route", tested) {
            Some("rule-beyond") => selection.rule = u32::MAX,
            Some("backend-beyond") => selection.backend = 1,
            Some("mirror-beyond") => {
                selection
                    .mirrors
                    .push(router::Mirror { backend: u32::MAX, share_permille: u32::MAX });
            }
            Some("mirrors") => {
                let mirror = router::Mirror { backend: 0, share_permille: u32::MAX };
                selection.mirrors = vec![mirror; 100_000];
            }
            _ => {}
        }
        match self.reply("on-route", tested) {
            Some(reply) => router::Choice::Answer(reply),
            None => router::Choice::Forward(selection),
        }
    }
}

/// Hooks that know no exchange are tested by their first call.
fn first() -> bool {
    ASKED.with(|asked| asked.replace(asked.get() + 1) == 0)
}

impl Retry for Rogue {
    fn failing_statuses(&self) -> (Vec<u16>, Vec<u32>) {
        match self.does_at("failing-statuses", false) {
            Some("many") => (vec![500; 100_000], Vec::new()),
            _ => (vec![0, u16::MAX], vec![u32::MAX]),
        }
    }

    fn on_failure(&mut self, _: retry::Failure, seen: View<'_>) -> retry::Decision {
        self.at("on-failure", seen.exchange() == 0);
        retry::Verdict::Again(u32::MAX).into()
    }
}

impl Hedge for Rogue {
    fn plan(&mut self, _: hedge::Latencies) -> Option<u32> {
        if self.at == "plan" {
            self.at("plan", first());
        }
        Some(u32::MAX)
    }
}

impl CircuitBreaker for Rogue {
    fn evaluate(
        &mut self,
        _: u32,
        _: Option<u32>,
        _: circuit_breaker::Window,
        _: circuit_breaker::Circuit,
    ) -> circuit_breaker::Circuit {
        if self.at == "evaluate" {
            self.at("evaluate", first());
        }
        circuit_breaker::Circuit::Open(u32::MAX)
    }
}

impl Balancer for Rogue {
    fn weigh(&mut self, _: u32, endpoints: &[balancer::EndpointState]) -> Vec<u32> {
        let tested = self.at == "weigh" && first();
        self.at("weigh", tested);
        match self.does_at("weigh", tested) {
            Some("many") => vec![1; 500_000],
            Some("none") => Vec::new(),
            _ => vec![u32::MAX; endpoints.len()],
        }
    }
}

impl Telemetry for Rogue {
    fn on_names(&mut self, _: telemetry::NameKind, _: u32, _: Vec<String>) {
        if self.at == "on-names" {
            self.at("on-names", first());
        }
    }

    fn on_exchanges(&mut self, _: &[telemetry::Summary], _: Kept<'_>) {
        if self.at == "on-exchanges" {
            self.at("on-exchanges", first());
        }
    }
}

impl Connection for Rogue {
    fn backends(&self) -> Vec<String> {
        vec!["shop/db:5432".to_owned()]
    }

    fn on_connection(&mut self, seen: View<'_>) -> connection::Decision {
        self.at("on-connection", seen.exchange() == 0);
        connection::Verdict::Tunnel(match self.does_at("on-connection", seen.exchange() == 0) {
            Some("tunnel-beyond") => u32::MAX,
            _ => 0,
        })
        .into()
    }
}

impl Tick for Rogue {
    fn on_tick(&mut self) -> Option<u32> {
        if self.at == "on-tick" {
            self.at("on-tick", first());
        }
        Some(0)
    }
}

/// Some tens of milliseconds of a processor.
const SLOWLY: u64 = 100_000_000;

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "it overflows the stack on purpose")]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth + 1)) + 1)
}

tamis_sdk::export!(Rogue: request, request_body, response, response_body, router, retry, hedge, circuit_breaker, balancer, telemetry, connection, tick);
