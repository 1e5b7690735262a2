//! Prints the cost of one call into a component: path, two headers and an attribute in, a verdict out.
//!
//! `cargo run --release -p tamis-engine --example call_cost [--json] [COMPONENT [CONFIG_JSON]]`; without a component
//! the built-in route policy from `target/components`.

#![expect(clippy::disallowed_methods, reason = "an example measures in real time")]
#![expect(clippy::print_stdout, reason = "printing is its purpose")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tamis_engine::{
    Admission, Engine, Filter, FilterOptions, FilterState, Hook, Instance, Isolation, OnFailure,
};
use tamis_exchange::{Attributes, Exchange, Scheme, View};
use tamis_observe::Metrics;

const ROUNDS: usize = 31;
const CALLS: u32 = 20_000;
const ROUTES: &str = r#"{"routes":[{"name":"shop/pay","kind":"HTTPRoute","hostnames":["shop.example"],
  "rules":[{"matches":[{"path":{"type":"PathPrefix","value":"/pay"},
      "headers":[{"name":"x-a","value":"1"},{"name":"x-b","value":"2"}]}],
    "backendRefs":[{"service":"shop/pay:80","weight":1}]}]}]}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, arguments): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument == "--json");
    let mut arguments = arguments.into_iter();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components/route.wasm");
    let component = arguments.next().map_or(built_in, Into::into);
    let config = arguments.next().unwrap_or_else(|| ROUTES.to_owned());
    let engine = Engine::new()?;
    let start = Instant::now();
    let compiled = engine.compile(&std::fs::read(&component)?, None)?;
    let compiling = start.elapsed();
    let filter = Filter::new(
        &compiled,
        FilterOptions {
            name: "bench/filter".into(),
            digest: String::new(),
            version: String::new(),
            config_json: config,
            admission: Admission::everything(),
            state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
            fetch: None,
            failure: OnFailure::Closed,
            isolation: Isolation::Worker,
        },
    )?;
    let start = Instant::now();
    let mut instance = filter.instantiate()?;
    let instantiating = start.elapsed();
    let view = view(&filter);
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            call(&filter, &mut instance, &view)?;
        }
        rounds.push(start.elapsed() / CALLS);
    }
    rounds.sort_unstable();
    let at = |index: usize| rounds.get(index).copied().unwrap_or_default();
    let (median, best) = (at(ROUNDS / 2), at(0));
    if !flags.is_empty() {
        let (median, best) = (median.as_nanos(), best.as_nanos());
        println!("{}", serde_json::json!({ "medianNs": median, "bestNs": best }));
        return Ok(());
    }
    println!("allocation {:?}, compiled in {compiling:?}", engine.allocation());
    println!("instantiated and configured in {instantiating:?}");
    println!("view of {} fields, {} octets", view.spans.len(), view.octets.len());
    println!("per call: median {median:?}, best {best:?}");
    Ok(())
}

fn call(filter: &Filter, instance: &mut Instance, view: &View) -> Result<(), Box<dyn Error>> {
    if filter.has(Hook::Router) {
        std::hint::black_box(instance.on_route(view)?);
    } else {
        std::hint::black_box(instance.on_request(view)?);
    }
    Ok(())
}

fn view(filter: &Filter) -> View {
    let mut headers = http::HeaderMap::new();
    headers.insert("x-a", http::HeaderValue::from_static("1"));
    headers.insert("x-b", http::HeaderValue::from_static("2"));
    let mut attributes = Attributes::default();
    attributes.set("peer.spiffe-id", "spiffe://mesh/ns/shop/sa/cart");
    let exchange = Exchange {
        id: 1,
        method: http::Method::GET,
        scheme: Scheme::Http,
        authority: "shop.example".into(),
        path: "/pay/basket?items=3".into(),
        headers,
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
        bounds: tamis_exchange::HeadBounds::default(),
        coding: None,
    };
    let mut view = View::default();
    view.fill_request(filter.reads(), &exchange);
    view
}
