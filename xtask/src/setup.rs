//! `cargo xtask setup`: what building and testing need that cargo itself does not bring.
//!
//! Quiet and instant when everything is there. Installs in the compiler's own folder (the wasm
//! target), in `target/tools` (cargo-deny), and through apt (Debian packages), nowhere else.

use anyhow::{Context as _, Result, bail};

use crate::shell;

mod debian;
pub(crate) mod deny_tool;
pub(crate) mod packages;
mod wasm;

pub(crate) use wasm::TARGET as WASM_TARGET;

/// What `setup` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the standard library for the filters' target comes from.
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    source: Source,
}

/// Where the standard library for the filters' target comes from.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// rustup if it can, Debian otherwise.
    Auto,
    /// rustup alone.
    Rustup,
    /// Built from Debian's package of the compiler's source.
    Debian,
}

/// Installs what is missing.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::install()?;
    wasm_target_from(arguments.source)?;
    deny_tool::install()?;
    println!("Ready: {} is installed, and so is what the tests need.", wasm::TARGET);
    Ok(())
}

/// What the tests need.
pub(crate) fn everything() -> Result<()> {
    run(&Arguments { source: Source::Auto })
}

/// The compilation target of filters alone: all that building and running need.
pub(crate) fn wasm_target() -> Result<()> {
    wasm_target_from(Source::Auto)
}

fn wasm_target_from(source: Source) -> Result<()> {
    if wasm::installed()? {
        return Ok(());
    }
    println!("    the {} target is missing: installing it", wasm::TARGET);
    if source != Source::Debian && shell::exists("rustup") {
        match wasm::with_rustup() {
            Ok(()) if wasm::installed()? => return Ok(()),
            Ok(()) => println!("    rustup installed it for another compiler than this one"),
            Err(error) => println!("    rustup could not install it: {error:#}"),
        }
    }
    if source != Source::Rustup {
        debian::build_target().with_context(|| {
            format!(
                "the {0} target could not be built; install it: rustup target add {0}",
                wasm::TARGET
            )
        })?;
    }
    if !wasm::installed()? {
        bail!("the {0} target is still missing; install it: rustup target add {0}", wasm::TARGET);
    }
    Ok(())
}
