//! Runs cases in the engine.

use crate::ask::ask;
use crate::compare::{compare, refused};
use crate::event::Request;
use crate::report::{CaseReport, Report};
use crate::seen::{StepEnd, StepObservation};
use crate::step::CaseStep;
use crate::stub::Stubs;
use crate::table::{Case, CaseStart, Table};
use crate::walk::{ExchangeWalk, exchange};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tamis_ambient::{Clock, ManualTime, Random};
use tamis_engine::{
    Admission, CompiledComponent, EngineError, Filter, FilterOptions, FilterState, Grant,
    GrantPlace, Hook, Instance, Isolation, OnFailure, Secrets,
};
use tamis_observe::Metrics;

/// A seed, so that a case has the same result each time.
const SEED: u64 = 1;

impl Table {
    /// Runs every case, each with an instance, a clock and a state of its own.
    pub fn run(&self, compiled: &CompiledComponent) -> Report {
        let cases = self.cases.iter().map(|case| {
            let clock = Clock::system();
            let began = clock.now();
            let differences = CaseRun::start(self, case, compiled)
                .map_or_else(|differences| differences, |mut run| run.steps(case));
            let duration_us = u64::try_from(clock.since(began).as_micros()).unwrap_or(u64::MAX);
            CaseReport { name: case.name.clone(), differences, duration_us }
        });
        Report { source: self.source.clone(), cases: cases.collect() }
    }
}

/// A case in progress.
struct CaseRun {
    filter: Filter,
    instance: Instance,
    time: ManualTime,
    metrics: Arc<Metrics>,
    stubs: Stubs,
    runtime: tokio::runtime::Runtime,
    /// Exchanges so far.
    exchanges: u64,
}

impl CaseRun {
    /// Configures the filter. `Err`: the case ends here, with these differences, or with none because the
    /// refusal was expected.
    fn start(
        table: &Table,
        case: &Case,
        compiled: &CompiledComponent,
    ) -> Result<Self, Vec<String>> {
        let empty = json!({});
        let config = case.config.as_ref().or(table.config.as_ref()).unwrap_or(&empty);
        let default = CaseStart::default();
        let given = case.given.as_ref().or(table.given.as_ref()).unwrap_or(&default);
        let time = ManualTime::new();
        if let Some(text) = &given.time {
            time.set_unix_time(unix_time(text).map_err(|why| vec![why])?);
        }
        let (stubs, metrics) = (Stubs::new(&given.http), Arc::new(Metrics::new()));
        let secrets: HashMap<String, Vec<u8>> = given
            .secrets
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        let state = FilterState::new(Arc::clone(&metrics))
            .with_clock(time.clock(), Random::seeded(SEED))
            .with_exporter(Arc::clone(&stubs.exporter) as _)
            .with_secrets(Secrets::new(secrets));
        let grant = table.grant.clone().unwrap_or_else(|| everything(given));
        for (key, value) in &given.kv {
            let limits = grant.imports.kv.clone().unwrap_or_default();
            state
                .write_kv(key, value.as_bytes(), &limits)
                .map_err(|why| vec![format!("`given.kv.{key}`: {why}")])?;
        }
        let expected = case
            .steps
            .iter()
            .find_map(|step| step.expect.as_ref().and_then(|expect| expect.configure.as_ref()));
        let name = table.filter.as_deref().unwrap_or("test/filter");
        let filter = match (filter(compiled, name, config, grant, state, &stubs), expected) {
            (Err(error), Some(expected)) => return Err(refused(&error, expected)),
            (Err(error), None) => return Err(vec![not_started(&error, &table.source)]),
            (Ok(_), Some(_)) => {
                let why = "the configuration was expected to be refused, and was accepted";
                return Err(vec![why.to_owned()]);
            }
            (Ok(filter), None) => filter,
        };
        let instance = filter.instantiate().map_err(|fault| vec![fault.to_string()])?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| vec![error.to_string()])?;
        // What the self-test sent and wrote is no part of the case.
        let (_, _) = (stubs.fetch.take(), stubs.exporter.take());
        Ok(Self { filter, instance, time, metrics, stubs, runtime, exchanges: 0 })
    }

    fn steps(&mut self, case: &Case) -> Vec<String> {
        for (index, step) in case.steps.iter().enumerate() {
            if let Some(wait) = step.wait {
                self.time.advance(Duration::from_millis(wait.0));
            }
            let Some(expect) = &step.expect else { continue };
            let times = step.times.unwrap_or(1);
            for time in 1..=times {
                let seen = match self.step(step) {
                    Ok(seen) => seen,
                    Err(why) => return placed(case, index, time, times, vec![why]),
                };
                let page = (!expect.metrics.is_empty()).then(|| self.metrics.render());
                let found = compare(expect, &seen, &self.filter, page.as_deref());
                if !found.is_empty() {
                    return placed(case, index, time, times, found);
                }
            }
        }
        Vec::new()
    }

    /// `Err`: the step cannot show anything of this filter.
    fn step(&mut self, step: &CaseStep) -> Result<StepObservation, String> {
        self.exchanges += 1;
        let empty = Request::default();
        let request = step.request.as_ref().unwrap_or(&empty);
        let exchange = exchange(request, self.exchanges)
            .map_err(|why| format!("the request of the case: {why}"))?;
        let mut seen = StepObservation::default();
        let Self { filter, instance, runtime, .. } = self;
        let went = if step.events().is_empty() {
            called(filter)?;
            let walk = ExchangeWalk { filter, instance, exchange, seen: &mut seen };
            runtime.block_on(walk.run(step))
        } else {
            let clock = self.time.clock();
            runtime.block_on(ask(step, filter, instance, exchange, clock, &mut seen))
        };
        match went {
            Ok(()) => {}
            Err(StepEnd::Answer(reply)) => seen.answer = Some(reply),
            Err(StepEnd::Fault(kind, text)) => seen.fault = Some((kind, text)),
            Err(StepEnd::Case(why)) => return Err(why),
        }
        seen.http = self.stubs.fetch.take();
        (seen.records, seen.spans) = self.stubs.exporter.take();
        Ok(seen)
    }
}

/// Names the step, and which of its times, in front of what differs.
fn placed(case: &Case, index: usize, time: u32, times: u32, found: Vec<String>) -> Vec<String> {
    let step = (!case.is_single).then(|| format!("step {}", index + 1));
    let time = (times > 1).then(|| format!("time {time} of {times}"));
    let place: Vec<String> = step.into_iter().chain(time).collect();
    if place.is_empty() {
        return found;
    }
    let place = place.join(", ");
    found.into_iter().map(|one| format!("{place}: {one}")).collect()
}

/// Why a filter does not start, and what to write into the table if that is all that it lacks.
fn not_started(error: &EngineError, source: &str) -> String {
    match error.grant_remedy(GrantPlace::Table(source)) {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}

fn filter(
    compiled: &CompiledComponent,
    name: &str,
    config: &Value,
    grant: Grant,
    state: FilterState,
    stubs: &Stubs,
) -> Result<Filter, EngineError> {
    let options = FilterOptions {
        name: name.to_owned(),
        digest: String::new(),
        version: "0.0.0".to_owned(),
        config_json: config.to_string(),
        admission: Admission::of_grant(name, compiled.inspection(), grant)?,
        state: Arc::new(state),
        fetch: Some(Arc::clone(&stubs.fetch) as _),
        failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    };
    Filter::new(compiled, options)
}

/// Every right, with the hosts and secrets that the case gives.
fn everything(given: &CaseStart) -> Grant {
    let mut grant = Grant::everything();
    if let Some(secrets) = grant.imports.secrets.as_mut() {
        secrets.names = given.secrets.keys().cloned().collect();
        secrets.reveal = true;
    }
    if let Some(client) = grant.imports.http_client.as_mut() {
        let host = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.split(['/', '?']).next().unwrap_or(rest).to_owned()
        };
        client.hosts = given.http.iter().map(|stub| host(&stub.url)).collect();
        client.services = client.hosts.iter().filter_map(|host| service(host)).collect();
        (client.during_requests, client.clear_text) = (true, true);
    }
    grant
}

/// The service of the mesh with that host, as a grant names it: a name has no dot in a table.
fn service(host: &str) -> Option<String> {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let (name, namespace) = host.strip_suffix(".mesh")?.split_once('.')?;
    Some(format!("{namespace}/{name}"))
}

/// A time of day in RFC 3339 as the time since 1970.
pub(crate) fn unix_time(text: &str) -> Result<Duration, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("`{text}` is not a time"))?;
    u64::try_from(time.as_millisecond())
        .map(Duration::from_millis)
        .map_err(|_| format!("`{text}` is before 1970"))
}

/// Checks that a request reaches the filter at all.
fn called(filter: &Filter) -> Result<(), String> {
    let hooks = [
        Hook::Request,
        Hook::RequestBody,
        Hook::Router,
        Hook::Response,
        Hook::ResponseBody,
        Hook::Trailers,
        Hook::Finished,
    ];
    if filter.hooks().iter().any(|hook| hooks.contains(hook)) {
        return Ok(());
    }
    let names: Vec<&str> = filter.hooks().iter().map(|hook| hook.as_str()).collect();
    Err(format!(
        "a request does not call this filter: it exports only {}; write the event that does, such as `retry: {{ status: 503 }}` or `tick: {{}}`",
        names.join(", ")
    ))
}
