//! A filter whose configuration states how it behaves, good or bad. Exchange 0 is the host's self-test:
//! there it behaves well, unless configured to misbehave always.

use tamis_sdk::grpc::{self, UnaryCall};
use tamis_sdk::types::{Attribute, Edit};
use tamis_sdk::{
    BodyMode, ConfigError, Filter, Interest, Request, Tick, View, clock, counters, http_client, kv,
    log, metrics, quota, records, reply, request,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    r#do: String,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
}

struct Behaviour {
    does: String,
    series: u32,
    calls: u32,
    memory: Vec<Vec<u8>>,
}

impl Filter for Behaviour {
    type Settings = Settings;
    const SCHEMA: &'static str = r#"{"type":"object"}"#;

    fn check(settings: &Settings) -> Result<(), Vec<ConfigError>> {
        match settings.r#do.as_str() {
            "refuse" => Err(vec![ConfigError {
                pointer: "/do".into(),
                message: "`refuse` is never accepted".into(),
            }]),
            "refuse-silently" => Err(Vec::new()),
            "import-in-validate" => {
                clock::unix_ms();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn configure(settings: Settings) -> Result<(Self, Interest), Vec<ConfigError>> {
        match settings.r#do.as_str() {
            "configure-loop" => spin(),
            "configure-slowly" => drop(std::hint::black_box(count(SLOWLY))),
            does if does.ends_with("-said") => tamis_sdk::log_panics(),
            _ => {}
        }
        if settings.r#do == "slow-trap" {
            // Long, and within what a configuration may take.
            (0..50_000_000_u32).for_each(|step| {
                std::hint::black_box(step);
            });
        }
        let labels = ["path".to_owned()];
        let family = metrics::define(metrics::Kind::Counter, "guest_total", "Seen.", &labels)
            .map_err(|message| vec![ConfigError { pointer: String::new(), message }])?;
        let series = metrics::series(family, &["/".to_owned()]);
        let interest = Interest::reading(settings.reads.iter().map(String::as_str))
            .writing(settings.writes.iter().map(String::as_str));
        let interest = match settings.r#do.strip_prefix("judge-whole-") {
            Some(limit) => {
                let limit = limit.parse().unwrap_or(u32::MAX);
                interest.buffering(BodyMode::Buffered, BodyMode::None, limit)
            }
            None => interest,
        };
        Ok((Self { does: settings.r#do, series, calls: 0, memory: Vec::new() }, interest))
    }
}

impl Request for Behaviour {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let testing = seen.exchange() == 0 && !self.does.ends_with("-always");
        self.calls += 1;
        match self.does.as_str() {
            _ if testing => request::Decision::pass(),
            "edit" => {
                let path = seen.path().unwrap_or_default().to_owned();
                request::Decision::change(vec![Edit::set("x-path", path)]).because("guest.edit")
            }
            "answer" => request::Decision::answer(reply(403).text("no")).because("guest.no"),
            "loop" => spin(),
            "grow" => loop {
                self.memory.push(vec![1; 1 << 20]);
            },
            "trap" | "trap-always" | "trap-said" | "configure-slowly" | "slow-trap" => {
                panic!("told to")
            }
            "unwrap-said" => {
                let none: Option<u32> = std::hint::black_box(None);
                request::Decision::pass().because(none.unwrap().to_string())
            }
            "expect-said" => {
                let bad = std::hint::black_box("x").parse::<u32>();
                request::Decision::pass().because(bad.expect("a number").to_string())
            }
            "index-said" => {
                let none: &[u32] = std::hint::black_box(&[]);
                request::Decision::pass().because(none[self.calls as usize].to_string())
            }
            "overflow-said" => {
                let most = std::hint::black_box(u32::MAX);
                request::Decision::pass().because(most.checked_add(self.calls).unwrap().to_string())
            }
            "clock-said" => {
                let now = std::time::Instant::now();
                request::Decision::pass().because(format!("{now:?}"))
            }
            "log-flood" => {
                (0..200).for_each(|_| log::write(log::Level::Warn, &"x".repeat(4_000)));
                request::Decision::pass()
            }
            "status-99" => request::Decision::answer(reply(99)),
            "upper-case" => request::Decision::answer(reply(200).header("X-Upper", "a")),
            "split" => request::Decision::answer(reply(200).header("x-a", "1\r\nset-cookie: b")),
            "many-headers" => {
                let all =
                    (0..30_000).fold(reply(200), |reply, n| reply.header(format!("x-{n}"), "a"));
                request::Decision::answer(all)
            }
            "long-reply" => request::Decision::answer(reply(200).body(vec![0; 2 << 20])),
            "bad-reason" => request::Decision::pass().because("Something Went Wrong!"),
            "long-keys" => {
                let key = "k".repeat(1 << 20) + &self.calls.to_string();
                counters::add("n", &key, 1, 3_600_000);
                let taken = quota::take("c", &key, 1).is_ok();
                request::Decision::answer(reply(200).text(taken.to_string()))
            }
            "quota-always" => {
                let taken = quota::take("per-key", "k", 1).is_ok();
                request::Decision::answer(reply(200).text(taken.to_string()))
            }
            "records" => {
                let field = |n: u32| Attribute { name: format!("f{n}"), value: "a".repeat(8_000) };
                let all: Vec<_> = (0..120).map(field).collect();
                (0..8).for_each(|_| records::emit(&all));
                records::emit(&all[..1]);
                request::Decision::pass()
            }
            "recurse" => {
                std::hint::black_box(recurse(self.calls.into()));
                request::Decision::pass()
            }
            "count" => {
                metrics::add(self.series, 1.0);
                log::write(log::Level::Info, "counted");
                let seen = kv::read("n").map_or(0, |entry| entry.value[0]);
                let _ = kv::write("n", &[seen + 1], 0);
                request::Decision::answer(reply(200).body(vec![seen + 1, self.calls as u8]))
            }
            "fetch" => request::Decision::answer(reply(200).text(fetch("https"))),
            "grpc" => {
                let name = seen.path().unwrap_or_default();
                let call = UnaryCall::new(
                    "http://greeter.test.mesh",
                    "acme.Greeter/Greet",
                    name.as_bytes(),
                )
                .with("x-caller", "guest")
                .within_ms(10_000);
                let said = match grpc::unary(&call) {
                    Ok(message) => String::from_utf8_lossy(&message).into_owned(),
                    Err(failure) => failure.to_string(),
                };
                request::Decision::answer(reply(200).text(said))
            }
            "fetch-clear" => request::Decision::answer(reply(200).text(fetch("http"))),
            "bad-handle" => {
                metrics::add(99, 1.0);
                request::Decision::pass()
            }
            _ => request::Decision::pass(),
        }
    }
}

impl Tick for Behaviour {
    fn on_tick(&mut self) -> Option<u32> {
        if self.does == "fetch" {
            let _ = kv::write("fetched", fetch("https").as_bytes(), 0);
        }
        Some(5)
    }
}

fn fetch(scheme: &str) -> String {
    let outgoing = http_client::Outgoing {
        method: "GET".into(),
        url: format!("{scheme}://idp.example/keys"),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 0,
    };
    match http_client::send(&outgoing) {
        Ok(incoming) => format!("{} {}", incoming.status, String::from_utf8_lossy(&incoming.body)),
        Err(failure) => format!("{failure:?}"),
    }
}

/// Some hundred milliseconds of a processor.
const SLOWLY: u64 = 300_000_000;

fn count(to: u64) -> u64 {
    (0..to).fold(0, |sum, n| std::hint::black_box(sum ^ n))
}

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

tamis_sdk::export!(Behaviour: request, tick);
