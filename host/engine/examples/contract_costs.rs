//! Prints what the hooks of one filter cost when it is built for contract 0.1 and for the newest one, in turns.
//!
//! `cargo run --release -p tamis-engine --example contract_costs FIRST NEWEST FINISHED ROUNDS`, three builds of
//! `tests/guests/rust/costs`. Each line is a JSON object: `what`, `unit`, and what a call took in each round with the `first` and
//! the `newest` build.

#![expect(clippy::disallowed_methods, reason = "an example measures in real time")]
#![expect(clippy::print_stdout, reason = "printing is its purpose")]

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;
use tamis_engine::{
    Admission, Engine, Filter, FilterOptions, FilterState, Grant, Instance, Isolation, OnFailure,
};
use tamis_exchange::{Attributes, Exchange, ExchangeEnding, HeadSide, Outcome, Scheme, View};
use tamis_observe::Metrics;

/// Calls of a round into hooks on heads.
const CALLS: u32 = 20_000;
/// Filters of a chain.
const CHAIN: usize = 5;
const MIB: usize = 1024 * 1024;
/// Length of the body.
const BODY_MIB: usize = 5;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [first, newest, finished, rounds] = &arguments[..] else {
        return Err("give FIRST NEWEST FINISHED ROUNDS".into());
    };
    let rounds: u32 = rounds.parse()?;
    let engine = Engine::new()?;
    let load = |file: &String, config: &str| -> Result<LoadedInstances, Failure> {
        LoadedInstances::new(&engine, &std::fs::read(file)?, config)
    };
    let heads = "{}";
    let mut pair = [load(first, heads)?, load(newest, heads)?];
    let row = turns(&mut pair, rounds, |one| one.hook(CALLS))?;
    print("hook with view: path, two headers, an attribute", "ns", &row, 1.0);
    let row = turns(&mut pair, rounds, |one| one.chain(CALLS))?;
    print("chain of five: request and response hook of each", "ns", &row, 1.0);
    let document = document(BODY_MIB * MIB);
    for (what, config) in [
        ("body hook, shown whole and passed, per MiB", r#"{"body":true}"#),
        ("body hook, JSON searched for a field, per MiB", r#"{"body":true,"inspect":true}"#),
    ] {
        let mut pair = [load(first, config)?, load(newest, config)?];
        let row = turns(&mut pair, rounds, |one| one.body(&document))?;
        print(what, "µs", &row, 1_000.0 * f64::from(u32::try_from(BODY_MIB)?));
    }
    let mut ends = load(finished, heads)?;
    let mut newest = load(newest, heads)?;
    let mut row = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let [without, with] = &mut row;
        without.push(newest.hook(CALLS)?);
        with.push(ends.hook_and_end(CALLS)?);
    }
    print("request hook, alone and with `finished`", "ns", &row, 1.0);
    Ok(())
}

/// What each of the two took for one call in each round, in nanoseconds. They take turns, and who is first changes.
fn turns(
    pair: &mut [LoadedInstances; 2],
    rounds: u32,
    act: impl Fn(&mut LoadedInstances) -> Result<f64, Failure>,
) -> Result<[Vec<f64>; 2], Failure> {
    let [first, newest] = pair;
    act(first)?;
    act(newest)?;
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let [of_first, of_newest] = &mut took;
        if round % 2 == 0 {
            of_first.push(act(first)?);
            of_newest.push(act(newest)?);
        } else {
            of_newest.push(act(newest)?);
            of_first.push(act(first)?);
        }
    }
    Ok(took)
}

fn print(what: &str, unit: &str, [first, newest]: &[Vec<f64>; 2], divisor: f64) {
    let each = |took: &[f64]| took.iter().map(|one| one / divisor).collect::<Vec<_>>();
    let line = serde_json::json!({
        "what": what, "unit": unit, "first": each(first), "newest": each(newest),
    });
    println!("{line}");
}

/// As many instances as a chain has filters, and what they are shown.
struct LoadedInstances {
    instances: Vec<Instance>,
    request: View,
    response: View,
}

impl LoadedInstances {
    fn new(engine: &Engine, component: &[u8], config: &str) -> Result<Self, Failure> {
        let compiled = engine.compile(component, None)?;
        let mut grant = Grant::everything();
        grant.limits.body_bytes = 8 << 20;
        grant.limits.memory_bytes = 64 << 20;
        grant.limits.time_us = 5_000_000;
        let admission = Admission::of_grant("bench/costs", compiled.inspection(), grant)?;
        let make = || {
            let options = FilterOptions {
                name: "bench/costs".into(),
                digest: String::new(),
                version: String::new(),
                config_json: config.to_owned(),
                admission: admission.clone(),
                state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
                fetch: None,
                failure: OnFailure::Closed,
                isolation: Isolation::Worker,
            };
            Filter::new(&compiled, options)
        };
        let filters = (0..CHAIN).map(|_| make()).collect::<Result<Vec<_>, _>>()?;
        let instances = filters.iter().map(Filter::instantiate).collect::<Result<_, _>>()?;
        let filter = filters.first().ok_or("a chain has filters")?;
        let (request, response) =
            (view(filter, HeadSide::Request), view(filter, HeadSide::Response));
        Ok(Self { instances, request, response })
    }

    /// One call of the request hook.
    fn hook(&mut self, calls: u32) -> Result<f64, Failure> {
        let Self { instances, request, .. } = self;
        let instance = instances.first_mut().ok_or("a chain has filters")?;
        timed(calls, || {
            std::hint::black_box(instance.on_request(request)?);
            Ok(())
        })
    }

    /// The same, and a call of the hook at the end.
    fn hook_and_end(&mut self, calls: u32) -> Result<f64, Failure> {
        let Self { instances, request, .. } = self;
        let instance = instances.first_mut().ok_or("a chain has filters")?;
        let ending = ending();
        timed(calls, || {
            std::hint::black_box(instance.on_request(request)?);
            instance.on_finished(request, &ending)?;
            Ok(())
        })
    }

    /// An exchange: the request hooks of all filters, then their response hooks.
    fn chain(&mut self, calls: u32) -> Result<f64, Failure> {
        let Self { instances, request, response } = self;
        timed(calls, || {
            for instance in &mut *instances {
                std::hint::black_box(instance.on_request(request)?);
            }
            for instance in &mut *instances {
                std::hint::black_box(instance.on_response(response)?);
            }
            Ok(())
        })
    }

    /// One call with the whole body.
    fn body(&mut self, octets: &[u8]) -> Result<f64, Failure> {
        let Self { instances, request, .. } = self;
        let instance = instances.first_mut().ok_or("a chain has filters")?;
        timed(1, || {
            let decision = instance.on_request_body(request, octets, true)?;
            if decision.reason.as_deref() == Some("costs.malformed") {
                return Err("the body is not what it should be".into());
            }
            Ok(())
        })
    }
}

/// Nanoseconds of a call.
fn timed(calls: u32, mut act: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    for _ in 0..calls {
        act()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls))
}

/// A JSON document of that length, as applications send them: objects with texts and numbers. The field that is searched for
/// is the last one.
fn document(length: usize) -> Vec<u8> {
    let mut text = String::from(r#"{"messages":["#);
    let end = r#"{"role":"user"}],"model":"small"}"#;
    let mut number = 0_u64;
    while text.len() + end.len() + 160 < length {
        number += 1;
        let _ = write!(
            text,
            r#"{{"role":"user","number":{number},"score":0.{number},"content":"Is \"basket\" {number} paid? The customer asks about an order of last week."}},"#
        );
    }
    text.push_str(&" ".repeat(length.saturating_sub(text.len() + end.len())));
    text.push_str(end);
    text.into_bytes()
}

fn view(filter: &Filter, side: HeadSide) -> View {
    let mut headers = http::HeaderMap::new();
    headers.insert("x-a", http::HeaderValue::from_static("1"));
    headers.insert("x-b", http::HeaderValue::from_static("2"));
    let mut attributes = Attributes::default();
    attributes.set("source.address", "192.0.2.7");
    let exchange = Exchange {
        id: 1,
        method: http::Method::POST,
        scheme: Scheme::Http,
        authority: "shop.example".into(),
        path: "/pay/basket?items=3".into(),
        headers: headers.clone(),
        status: (side == HeadSide::Response).then_some(http::StatusCode::OK),
        response_headers: headers,
        attributes,
        bounds: tamis_exchange::HeadBounds::default(),
        coding: None,
    };
    let mut view = View::default();
    match side {
        HeadSide::Request => view.fill_request(filter.reads(), &exchange),
        HeadSide::Response => view.fill_response(filter.reads(), &exchange),
    }
    view
}

fn ending() -> ExchangeEnding {
    ExchangeEnding {
        outcome: Outcome::default(),
        status: 200,
        grpc_status: None,
        duration_us: 900,
        upstream_us: 700,
        attempts: 1,
        bytes_in: 0,
        bytes_out: 100,
        reason: None,
    }
}
