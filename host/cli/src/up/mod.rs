//! `tamis up`: a whole mesh from a folder, in one process.

mod apps;
mod mesh;
mod prepare;
mod token;
mod view;

use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What `up` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of resources.
    #[arg(default_value = "examples/shop")]
    folder: PathBuf,
    /// Start no sample services: the endpoints in the resources run already.
    #[arg(long)]
    no_apps: bool,
    /// Prepare keys, certificates, filters and pins, and stop.
    #[arg(long)]
    prepare: bool,
    /// Responses name the generation that served them (`x-tamis-generation`).
    #[arg(long)]
    name_generation: bool,
}

/// Between two pictures of the live view.
const PICTURE: Duration = Duration::from_secs(1);
/// How long connections get to end in.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs the mesh until Ctrl-C.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let began = Instant::now();
    let folder = &arguments.folder;
    let prepared = prepare::run(folder, output)?;
    if arguments.prepare {
        return Ok(ExitCode::SUCCESS);
    }
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("signals cannot be listened to")?;
    let apps = if arguments.no_apps { None } else { Some(apps::start(&prepared.documents)?) };
    let mesh = mesh::start(folder, &prepared, arguments.name_generation, output)?;
    let took = began.elapsed();
    let tries = tries(folder, &prepared, &mesh);
    let event = json!({
        "event": "up",
        "seconds": took.as_secs_f64(),
        "proxies": mesh.describe(),
        "token": prepared.token,
        "try": tries.iter().map(|(what, command)| json!({ "what": what, "command": command })).collect::<Vec<_>>(),
    });
    output::event(output, &event, || view::banner(&mesh, took, &tries));
    let mut view = view::View::new(output);
    while !stopped(&mut signals, PICTURE) {
        view.show(&mesh, &tries);
    }
    if output == Output::Text {
        output::note("\nending …");
    }
    mesh.end(DRAIN);
    drop(apps);
    Ok(ExitCode::SUCCESS)
}

/// Waits for a while; true when somebody asked to end.
fn stopped(signals: &mut Signals, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        if signals.pending().next().is_some() {
            return true;
        }
        let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// What a person may try now: what it shows, and the command.
fn tries(folder: &Path, prepared: &prepare::Prepared, mesh: &mesh::Mesh) -> Vec<(String, String)> {
    let tamis = std::env::current_exe().ok();
    let tamis = tamis.map_or_else(|| "tamis".to_owned(), |path| path.display().to_string());
    let (dot, mut tries) = (folder.join(".tamis"), Vec::new());
    if let Some(address) = mesh.entrance() {
        tries.push((
            "a request through gateway and sidecars".to_owned(),
            format!("curl -s http://{address}/"),
        ));
    }
    if let Some((name, version, file)) = prepared.upgradable() {
        let next = next(&version);
        tries.push((
            format!("{name} upgraded to {next} while traffic runs"),
            format!(
                "{tamis} filter sign {file} --name {name} --version {next} --key {key} --store {store} --pin {lock}",
                file = file.display(),
                key = dot.join("keys/local-dev.key").display(),
                store = dot.join("store").display(),
                lock = dot.join("filters.lock.yaml").display(),
            ),
        ));
        tries.push((
            format!("{name} tampered with: refused, and the last good version serves"),
            format!("printf '\\0' >> {}", file.display()),
        ));
    }
    tries
}

/// The next patch release.
fn next(version: &str) -> String {
    match version.rsplit_once('.').map(|(front, last)| (front, last.parse::<u64>())) {
        Some((front, Ok(last))) => format!("{front}.{}", last + 1),
        _ => format!("{version}.1"),
    }
}
