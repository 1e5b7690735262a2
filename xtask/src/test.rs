//! `cargo xtask test`: everything that must hold, in the order in which it fails soonest.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{build, deny, docs, filters, fuzz, guests, lint, setup, shell};

/// A step: its name, the command that repeats it, and what it does.
type Step = (&'static str, &'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("setup", "cargo xtask setup", setup::everything),
    ("filters", "cargo xtask filters", filters::all),
    ("guests", "cargo xtask guests python", guests::tested),
    ("build", "cargo xtask build", || build::binary(false)),
    ("lint", "cargo xtask lint", lint::run),
    ("test", "cargo test --workspace --no-fail-fast", suites),
    ("fuzz", "cargo xtask fuzz --seconds 60", fuzz::always),
    ("deny", "cargo xtask deny", deny::run),
    ("docs", "cargo xtask docs", docs::run),
];

/// Runs every step, stops at the first that fails, and closes with what passed and how long it took.
pub(crate) fn run() -> Result<()> {
    let mut passed = Vec::new();
    for (name, repeat, act) in STEPS {
        match shell::step(name, act) {
            Ok(((), took)) => passed.push((*name, took)),
            Err(error) => {
                summary(&passed);
                println!("    {name}: FAILED");
                return Err(error).with_context(|| format!("{name} failed; repeat it: {repeat}"));
            }
        }
    }
    summary(&passed);
    println!("Everything passed.");
    Ok(())
}

/// Every suite of every crate, the filters' on this machine's own target included. The suites behind one that fails
/// run too, so that one run shows all failures. A backtrace hides the message of a failure in a long output and adds
/// nothing to it: a panic names its place. Tests with processes wait more than they compute, so twice as many as there
/// are cores run at once.
fn suites() -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let mut test = shell::cargo();
    test.args(["test", "--workspace", "--no-fail-fast"]).env("RUST_BACKTRACE", "0");
    shell::run(test.env("RUST_TEST_THREADS", cores.saturating_mul(2).to_string()))
}

fn summary(passed: &[(&str, Duration)]) {
    println!("==> summary");
    for (name, took) in passed {
        println!("    {name}: passed in {:.1} s", took.as_secs_f64());
    }
}
