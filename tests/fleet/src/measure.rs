//! The measurement: a registry, the proxies, and one change after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tamis_api::{PinRequest, SlotStateView};
use tamis_client::Client;
use tamis_trust::{Digest, DirectorKeys, PrivateKey};
use tokio::runtime::Runtime;

use crate::Arguments;
use crate::figures::{Times, milliseconds};
use crate::fleet::{Fleet, ServeEvent};
use crate::mesh::{self, FILTERS, SLOTS};
use crate::proxy::Proxy;
use crate::registry::Registry;

/// The place whose filter is changed for all.
const FOR_ALL: usize = FILTERS.len() - 1;
/// The place whose filter is changed for one service.
const FOR_ONE: usize = FILTERS.len() - 2;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Everything of a run.
struct Run {
    registry: Registry,
    runtime: Runtime,
    client: Client,
    fleet: Arc<Fleet>,
    told: mpsc::Receiver<ServeEvent>,
    services: usize,
}

/// Measures everything.
pub(crate) fn all(arguments: &Arguments, folder: &Path) -> Result<Value> {
    let (services, rounds) = (usize::from(arguments.services), usize::from(arguments.rounds));
    note("certificates");
    mesh::certificates(folder, services)?;
    let key = PrivateKey::generate()?;
    fs::write(folder.join("fleet.key"), key.to_pem()?)?;
    let registry = Registry::start(&arguments.tamis, folder, arguments.core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = registry.client()?;
    note("filters");
    release(&registry, &arguments.components, rounds)?;
    let begun = Instant::now();
    let public = key.public_key().to_pem();
    note("documents");
    // A pin of a filter that was never pinned folds all documents again: first the filters, then most
    // services that run them.
    runtime.block_on(client.apply(&mesh::documents(1, &public)))?;
    for place in 0..FILTERS.len() {
        pin(&runtime, &client, "*", place, "1.0.0")?;
    }
    let pinned = begun.elapsed();
    let applied = runtime.block_on(client.apply(&mesh::documents(services, &public)))?;
    let problems = applied.diff.problems.len();
    ensure!(problems == 0, "the documents have {problems} problems");
    let applied = begun.elapsed().saturating_sub(pinned);
    let prepared = begun.elapsed();
    let keys = DirectorKeys::from_json(&fs::read(&registry.director_keys)?)?;
    let (tell, told) = mpsc::channel();
    let fleet = Arc::new(Fleet::new(registry.proxies(), folder.to_owned(), keys, tell));
    note("proxies");
    let begun = Instant::now();
    start(&fleet, services)?;
    let run = Run { registry, runtime, client, fleet, told, services };
    run.settle()?;
    let settled = begun.elapsed();
    run.status(|_| true)?;
    let (first_cpu, first_memory) = (run.registry.cpu()?, run.registry.memory_mib()?);
    let idle = run.idle()?;
    let everybody = run.everybody(rounds)?;
    let one = run.one(rounds)?;
    let mut run = run;
    let restart = run.restart()?;
    ensure!(run.fleet.tally.refused.load(Ordering::Relaxed) == 0, "slots were refused");
    Ok(json!({
        "services": services, "slots": services * SLOTS, "rounds": rounds,
        "documentsAppliedMs": milliseconds(applied),
        "documentsAndPinsMs": milliseconds(prepared),
        "firstPlanOnAllMs": milliseconds(settled),
        "registryCpuSecondsUntilThen": first_cpu.as_secs_f64(),
        "registryMemoryMib": { "settled": first_memory.0, "peak": run.registry.memory_mib()?.1 },
        "idle": idle, "pinForAll": everybody, "pinForOne": one, "restart": restart,
    }))
}

/// Signs the filters and pushes them: version 1.0.0 of each, and those that the rounds change to.
fn release(registry: &Registry, components: &Path, rounds: usize) -> Result<()> {
    for (place, (kind, _)) in FILTERS.iter().enumerate() {
        let component = components.join(format!("{kind}.wasm"));
        let component = component.to_str().context("the path of the components is no text")?;
        let more = match place {
            FOR_ALL => rounds,
            FOR_ONE => 1,
            _ => 0,
        };
        for round in 0..=more {
            let (name, version) = (mesh::filter(place), format!("1.{round}.0"));
            let signed = registry.tamis(&[
                "filter",
                "sign",
                component,
                "--name",
                &name,
                "--version",
                &version,
                "--key",
                "fleet.key",
                "--store",
                "store",
            ])?;
            let file = signed.get("file").and_then(Value::as_str).context("no file is named")?;
            registry.tamis(&["filter", "push", file])?;
        }
    }
    Ok(())
}

/// Pins; the digest that is pinned then, and how long it took.
fn pin(
    runtime: &Runtime,
    client: &Client,
    service: &str,
    place: usize,
    version: &str,
) -> Result<(Digest, Duration)> {
    let begun = Instant::now();
    let pinned = runtime.block_on(client.pin(&PinRequest {
        service: service.to_owned(),
        filter: mesh::filter(place),
        version: Some(version.to_owned()),
        digest: None,
        allow_older: false,
        confirm: true,
        dry_run: false,
    }))?;
    let took = begun.elapsed();
    let pin = pinned.pin.context("nothing is pinned")?;
    Ok((pin.digest.parse()?, took))
}

/// Starts the proxies, all on one thread of their own.
fn start(fleet: &Arc<Fleet>, services: usize) -> Result<()> {
    let proxies = (0..services).map(|at| Proxy::new(Arc::clone(fleet), at));
    let proxies = proxies.collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("proxies".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let tasks: Vec<_> = proxies.into_iter().map(|it| tokio::spawn(it.run())).collect();
            for task in tasks {
                // They go on for as long as this program runs.
                let _ = task.await;
            }
        });
    })?;
    Ok(())
}

impl Run {
    /// Waits until all proxies serve all their slots.
    fn settle(&self) -> Result<()> {
        let mut slots: BTreeMap<usize, BTreeMap<String, Option<Digest>>> = BTreeMap::new();
        let until = Instant::now() + PATIENCE;
        let whole = |slots: &BTreeMap<String, Option<Digest>>| {
            slots.len() == SLOTS && slots.values().all(Option::is_some)
        };
        while slots.len() < self.services || !slots.values().all(whole) {
            let left = until.saturating_duration_since(Instant::now());
            let served = self.told.recv_timeout(left).context("not all proxies have a plan")?;
            slots.entry(served.at).or_default().extend(served.slots);
        }
        Ok(())
    }

    /// Waits until `count` proxies serve a digest in a slot.
    fn serving(&self, count: usize, slot: &str, digest: Digest) -> Result<Vec<ServeEvent>> {
        let mut all = Vec::new();
        let until = Instant::now() + PATIENCE;
        while all.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            let served = self.told.recv_timeout(left);
            let served = served.with_context(|| format!("{} of {count} serve it", all.len()))?;
            if served.slots.iter().any(|(one, runs)| one == slot && *runs == Some(digest)) {
                all.push(served);
            }
        }
        Ok(all)
    }

    /// Asks for the status until every proxy is connected, current, serves every slot, and is otherwise as wanted; how long
    /// it took, and how long the last answer did.
    fn status(
        &self,
        wanted: impl Fn(&tamis_api::ProxyStatus) -> bool,
    ) -> Result<(Duration, Duration)> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let asked = Instant::now();
            let Ok(status) = self.runtime.block_on(self.client.status(None)) else { continue };
            let serves = |one: &tamis_api::ProxyStatus| {
                one.connected
                    && one.current
                    && one.slots.len() == SLOTS
                    && one.slots.iter().all(|slot| slot.state == SlotStateView::Serving)
                    && wanted(one)
            };
            if status.proxies.len() == self.services && status.proxies.iter().all(serves) {
                return Ok((begun.elapsed(), asked.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the status never says that all proxies serve")
    }

    /// The cost of an idle registry.
    fn idle(&self) -> Result<Value> {
        note("idle");
        let (before, begun) = (self.registry.cpu()?, Instant::now());
        // One report of each proxy.
        std::thread::sleep(Duration::from_secs(10));
        let used = self.registry.cpu()?.saturating_sub(before);
        Ok(
            json!({ "seconds": begun.elapsed().as_secs_f64(), "registryCpuSeconds": used.as_secs_f64() }),
        )
    }

    /// A pin of all: one slot of every proxy changes.
    fn everybody(&self, rounds: usize) -> Result<Value> {
        let (mut times, mut acks, mut statuses) =
            (Times::default(), Times::default(), Times::default());
        let (mut answers, mut lasts) = (Times::default(), Times::default());
        let (mut cpu, mut growth) = (Duration::ZERO, 0);
        for round in 1..=rounds {
            note(&format!("pin of all {round}"));
            let (cpu_before, journal) = (self.registry.cpu()?, self.revision()?);
            let bytes = self.registry.journal_bytes();
            let version = format!("1.{round}.0");
            let (digest, took) = pin(&self.runtime, &self.client, "*", FOR_ALL, &version)?;
            let acknowledged = Instant::now();
            let slot = mesh::slot(FOR_ALL);
            let served = self.serving(self.services, &slot, digest)?;
            acks.add(took);
            let since = |one: &ServeEvent| one.when.saturating_duration_since(acknowledged);
            served.iter().for_each(|one| times.add(since(one)));
            lasts.add(served.iter().map(since).max().unwrap_or_default());
            let (_, answer) = self.status(|_| true)?;
            statuses.add(acknowledged.elapsed());
            answers.add(answer);
            cpu += self.registry.cpu()?.saturating_sub(cpu_before);
            growth += self.revision()?.saturating_sub(journal);
            note(&format!(
                "  acknowledged after {} ms, on all {} ms later; the journal has {} bytes more",
                milliseconds(took),
                milliseconds(served.iter().map(since).max().unwrap_or_default()),
                self.registry.journal_bytes().saturating_sub(bytes)
            ));
        }
        let rounds = f64::from(u32::try_from(rounds)?);
        Ok(json!({
            "acknowledged": acks.json(), "toServing": times.json(), "toServingOnAll": lasts.json(),
            "statusSaysAll": statuses.json(), "statusAnswer": answers.json(),
            "registryCpuSecondsEach": cpu.as_secs_f64() / rounds,
            "journalEntriesEach": growth as f64 / rounds,
        }))
    }

    /// A pin of one service: one slot of one proxy changes.
    fn one(&self, rounds: usize) -> Result<Value> {
        note("pins of one service");
        let (mut times, mut acks) = (Times::default(), Times::default());
        let (mut wire, mut parts, mut others) = (Vec::new(), Vec::new(), 0);
        for round in 0..rounds {
            let at = round * self.services / rounds;
            let service = mesh::service(at);
            let (digest, took) = pin(&self.runtime, &self.client, &service, FOR_ONE, "1.1.0")?;
            let acknowledged = Instant::now();
            let served = self.serving(1, &mesh::slot(FOR_ONE), digest)?;
            acks.add(took);
            for one in &served {
                times.add(one.when.saturating_duration_since(acknowledged));
                wire.push(one.bytes);
                parts.push(one.parts_bytes);
                others += usize::from(one.at != at);
            }
        }
        ensure!(others == 0, "{others} proxies were pushed what is not theirs");
        let most = |all: &[u64]| all.iter().copied().max().unwrap_or(0);
        let over = wire.iter().zip(&parts).map(|(wire, slot)| wire.saturating_sub(*slot));
        Ok(json!({
            "acknowledged": acks.json(), "toServing": times.json(),
            "pushedBytes": most(&wire), "slotBytes": most(&parts), "bytesBesideTheSlot": over.max(),
        }))
    }

    /// The registry is killed under all proxies and comes back.
    fn restart(&mut self) -> Result<Value> {
        note("restart");
        let tally = &self.fleet.tally;
        let before = tally.tries.load(Ordering::Relaxed);
        tally.coming.forget();
        let begun = Instant::now();
        self.registry.crash_and_start()?;
        let ready = begun.elapsed();
        while usize::try_from(tally.streams.now()).unwrap_or(0) < self.services
            && begun.elapsed() < PATIENCE
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let streams = begun.elapsed();
        self.status(|_| true)?;
        let current = begun.elapsed();
        Ok(json!({
            "readyMs": milliseconds(ready), "allConnectedMs": milliseconds(streams),
            "allCurrentMs": milliseconds(current),
            "connectionsTried": tally.tries.load(Ordering::Relaxed).saturating_sub(before),
            "connectingAtOnceAtMost": tally.coming.most(),
            "putOff": tally.put_off.load(Ordering::Relaxed),
            "cameBackTooSoon": tally.impatient.load(Ordering::Relaxed),
            "registryCpuSeconds": self.registry.cpu()?.as_secs_f64(),
            "registryMemoryPeakMib": self.registry.memory_mib()?.1,
            "streamsAtMost": tally.streams.most(),
        }))
    }

    fn revision(&self) -> Result<u64> {
        Ok(self.runtime.block_on(self.client.log(u64::MAX >> 1, 1))?.head)
    }
}

/// Progress, for the person who waits.
fn note(what: &str) {
    eprintln!("    {what}");
}
