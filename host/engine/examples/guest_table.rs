//! Puts the guests of `tests/guests` through their tables of cases and prints the cost of one call into each `header-policy`.
//!
//! `cargo run --release -p tamis-engine --example guest_table [--json] [COMPONENT …]`; without components all that
//! `cargo xtask guests` left in `target/guests`. Fails when a case fails.

#![expect(clippy::disallowed_methods, reason = "an example measures in real time")]
#![expect(clippy::print_stdout, reason = "printing is its purpose")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tamis_engine::{
    Admission, CompiledComponent, Engine, Filter, FilterOptions, FilterState, Grant, Isolation,
    OnFailure,
};
use tamis_exchange::{Attributes, Exchange, Scheme, View};
use tamis_observe::Metrics;
use tamis_testkit::{Report, Table};

const CALLS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, components): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument == "--json");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let components = match components.is_empty() {
        true => built(&root.join("target/guests"))?,
        false => components.into_iter().map(PathBuf::from).collect(),
    };
    let (loud, components): (Vec<_>, Vec<_>) =
        components.into_iter().partition(|path| named(path, "outcry-"));
    let read = |name: &str| -> Result<Table, Box<dyn Error>> {
        let text = std::fs::read_to_string(root.join("tests/guests").join(name))?;
        Ok(Table::parse(name, &text)?)
    };
    let (table, outcry) = (read("header-policy.yaml")?, read("outcry.yaml")?);
    let engine = Engine::new()?;
    let results =
        components.iter().map(|path| Guest::run(&engine, &table, path)).collect::<Vec<_>>();
    let mut failed = 0;
    for (path, result) in components.iter().zip(&results) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        failed += usize::from(!result.as_ref().is_ok_and(|guest| guest.report.failed() == 0));
        match result {
            Ok(guest) if flags.is_empty() => print!("{name}\n{guest}"),
            Ok(guest) => println!("{}", guest.json(&name)),
            Err(error) if flags.is_empty() => println!("{name}\n  {error}"),
            Err(error) => {
                println!("{}", serde_json::json!({ "guest": name, "error": error.to_string() }));
            }
        }
    }
    for path in &loud {
        let report = outcry.run(&engine.compile(&std::fs::read(path)?, None)?);
        failed += usize::from(report.failed() > 0);
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if flags.is_empty() {
            println!("{name}\n{report}");
        } else {
            let (cases, failed) = (report.cases.len(), report.failed());
            println!("{}", serde_json::json!({ "guest": name, "cases": cases, "failed": failed }));
        }
    }
    if failed > 0 {
        return Err(format!("{failed} of {} guests fail", components.len() + loud.len()).into());
    }
    Ok(())
}

fn named(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

/// Results of one component.
struct Guest {
    compiled: CompiledComponent,
    compiling: Duration,
    instantiating: Duration,
    report: Report,
    median: Duration,
    slow: Duration,
    memory_bytes: u64,
}

impl Guest {
    fn run(engine: &Engine, table: &Table, path: &Path) -> Result<Self, Box<dyn Error>> {
        let bytes = std::fs::read(path)?;
        let start = Instant::now();
        let compiled = engine.compile(&bytes, None)?;
        let compiling = start.elapsed();
        let report = table.run(&compiled);
        let state = Arc::new(FilterState::new(Arc::new(Metrics::new())));
        let filter = filter(&compiled, table, &state)?;
        let start = Instant::now();
        let mut instance = filter.instantiate()?;
        instance.warm()?;
        let instantiating = start.elapsed();
        let view = view(&filter);
        let mut costs = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let start = Instant::now();
            std::hint::black_box(instance.on_request(&view)?);
            costs.push(start.elapsed());
        }
        costs.sort_unstable();
        let at = |place: usize| costs.get(place).copied().unwrap_or_default();
        Ok(Self {
            compiled,
            compiling,
            instantiating,
            report,
            median: at(CALLS / 2),
            slow: at(CALLS - CALLS / 100),
            memory_bytes: state.statistics().memory_high_bytes,
        })
    }

    fn json(&self, name: &str) -> serde_json::Value {
        let inspection = self.compiled.inspection();
        serde_json::json!({
            "guest": name,
            "bytes": inspection.size,
            "imports": inspection.imports,
            "wasi": inspection.wasi,
            "cases": self.report.cases.len(),
            "failed": self.report.failed(),
            "compileMs": self.compiling.as_millis(),
            "instantiateUs": self.instantiating.as_micros(),
            "medianNs": self.median.as_nanos(),
            "p99Ns": self.slow.as_nanos(),
            "memoryBytes": self.memory_bytes,
        })
    }
}

impl std::fmt::Display for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inspection = self.compiled.inspection();
        let listed = |names: &[String]| match names.is_empty() {
            true => "nothing".to_owned(),
            false => names.join(", "),
        };
        let kib = |bytes: u64| bytes.div_ceil(1024);
        write!(f, "{}", self.report)?;
        writeln!(f, "  imports {}", listed(&inspection.imports))?;
        writeln!(f, "  imports of WASI {}", listed(&inspection.wasi))?;
        writeln!(f, "  {} KiB, compiled in {:?}", inspection.size.div_ceil(1024), self.compiling)?;
        let memory = kib(self.memory_bytes);
        writeln!(f, "  an instance in {:?}, memory {memory} KiB", self.instantiating)?;
        writeln!(f, "  on-request: median {:?}, one in a hundred {:?}\n", self.median, self.slow)
    }
}

/// The components that were built, in order of name.
fn built(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let known = named(&path, "header-policy-") || named(&path, "outcry-");
        if known && path.extension().is_some_and(|extension| extension == "wasm") {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(format!("no guest in {}; run: cargo xtask guests", folder.display()).into());
    }
    found.sort();
    Ok(found)
}

fn filter(
    compiled: &CompiledComponent,
    table: &Table,
    state: &Arc<FilterState>,
) -> Result<Filter, Box<dyn Error>> {
    let config = table.config.as_ref().ok_or("the table has no configuration")?;
    let (name, inspection) = ("guests/header-policy", compiled.inspection());
    let grant = table.grant.clone().unwrap_or_else(Grant::everything);
    Ok(Filter::new(
        compiled,
        FilterOptions {
            name: name.into(),
            digest: String::new(),
            version: String::new(),
            config_json: config.to_string(),
            admission: Admission::of_grant(name, inspection, grant)?,
            state: Arc::clone(state),
            fetch: None,
            failure: OnFailure::Closed,
            isolation: Isolation::Worker,
        },
    )?)
}

/// A request that passes with two changes.
fn view(filter: &Filter) -> View {
    let mut headers = http::HeaderMap::new();
    for (name, value) in [("x-tenant", "a"), ("x-internal", "1"), ("user-agent", "shop/1.0")] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    let exchange = Exchange {
        id: 1,
        method: http::Method::GET,
        scheme: Scheme::Http,
        authority: "shop.example".into(),
        path: "/pay/basket?items=3".into(),
        headers,
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes: Attributes::default(),
        bounds: tamis_exchange::HeadBounds::default(),
        coding: None,
    };
    let mut view = View::default();
    view.fill_request(filter.reads(), &exchange);
    view
}
