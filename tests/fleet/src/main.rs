//! A thousand simulated proxies under one registry: how soon a commit reaches all of them, what it costs, and what happens
//! when the registry comes back. `cargo xtask bench fleet` builds and runs it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a measurement talks to its user")]

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

mod figures;
mod fleet;
mod measure;
mod mesh;
mod proxy;
mod registry;
mod stream;

/// Simulated proxies under one registry, measured; prints JSON.
#[derive(Parser)]
struct Arguments {
    /// The `tamis` to measure.
    #[arg(long)]
    tamis: PathBuf,
    /// Folder of the built-in filters' components.
    #[arg(long)]
    components: PathBuf,
    /// Services, each with one sidecar.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..=60_000))]
    services: u16,
    /// How often each change is made.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Core reserved for the registry. Default: chosen by the system.
    #[arg(long)]
    core: Option<u32>,
    /// Folder to work in, which is kept. Default: a temporary folder, removed afterwards.
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::TempDir::new()?;
    let folder = match &arguments.folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            folder.canonicalize()?
        }
        None => temporary.path().to_owned(),
    };
    let figures = measure::all(&arguments, &folder)?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}
