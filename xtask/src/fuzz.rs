//! `cargo xtask fuzz`: a search for inputs that break what `tests/fuzz` asserts.
//!
//! The plain search alters entries of the corpus in the test binary that is there already. The guided one is libFuzzer's:
//! the stable compiler instruments the code as `cargo fuzz` does with a nightly one, without the address sanitizer; there
//! is hardly any unsafe code for it to watch. What three of the targets need is built in a minute, for the others an
//! optimised engine and control plane are built again.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::shell;
use crate::workspace::Workspace;

/// A target has a test in `tests/fuzz/tests/altered.rs` whose name begins with its own, a file in
/// `tests/fuzz/guided/targets`, and a folder in `tests/fuzz/corpus`.
const TARGETS: [&str; 8] =
    ["apply", "bundle", "edits", "hooks", "http1", "resources", "target", "upgrade"];

/// What every test run searches: names and paths, heads, changes of the protocol, requests, and what an apply sends.
const ALWAYS: [&str; 5] = ["target", "edits", "upgrade", "http1", "apply"];
/// For how long each. Two run at a time.
const ALWAYS_SECONDS: u32 = 60;

/// Coverage by inline counters and comparisons, which is what libFuzzer reads.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Targets; default: all.
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// For how long each runs.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Let libFuzzer look where the code has not been yet; it needs a build of its own.
    #[arg(long)]
    guided: bool,
    /// A line of JSON for each target of a guided search.
    #[arg(long, requires = "guided")]
    json: bool,
}

/// Runs the targets, two at a time in a plain search, one after the other in a guided one.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let named = arguments.targets.iter().map(String::as_str);
    let targets: Vec<&str> =
        if arguments.targets.is_empty() { TARGETS.to_vec() } else { named.collect() };
    if arguments.guided {
        guided(&targets, arguments)
    } else {
        plain(&targets, arguments.seconds, None)
    }
}

/// The search that is part of every test run. It begins the same way each time: a run that fails is to fail again, and new
/// ground is for `cargo xtask fuzz`.
pub(crate) fn always() -> Result<()> {
    plain(&ALWAYS, ALWAYS_SECONDS, Some(1))
}

/// Alters entries of the corpora with what `cargo test --workspace` built.
fn plain(targets: &[&str], seconds: u32, seed: Option<u64>) -> Result<()> {
    let mut test = shell::cargo();
    test.args(["test", "--workspace", "--test", "altered", "--"])
        .args(["--nocapture", "--test-threads", "2"])
        .args(targets.iter().map(|target| format!("{target}_")))
        .env("TAMIS_FUZZ_SECONDS", seconds.to_string());
    if let Some(seed) = seed {
        test.env("TAMIS_FUZZ_SEED", seed.to_string());
    }
    shell::run(&mut test)
}

/// Builds the targets with libFuzzer, then runs them one after the other.
fn guided(targets: &[&str], arguments: &Arguments) -> Result<()> {
    let fuzz = shell::root().join("tests/fuzz");
    let target = Workspace::load()?.target_directory.join("fuzz");
    let mut build = shell::cargo();
    build
        .args(["build", "--release", "--target-dir"])
        .arg(&target)
        // With a target named, build scripts and macros are compiled without the flags.
        .args(["--target", &host()?])
        .env("RUSTFLAGS", FLAGS)
        .current_dir(fuzz.join("guided"));
    for name in targets {
        build.args(["--bin", name]);
        match *name {
            "http1" => drop(build.args(["--features", "connections"])),
            "hooks" => drop(build.args(["--features", "hooks"])),
            "apply" | "bundle" | "resources" => drop(build.args(["--features", "documents"])),
            _ => {}
        }
    }
    println!(
        "==> building the guided targets: the first build takes a minute, and many minutes for hooks and documents"
    );
    shell::run(&mut build)?;
    let mut broken = Vec::new();
    for name in targets {
        let found = one(name, arguments, &fuzz, &target)?;
        if let Some(input) = found {
            broken.push(format!(
                "{name} (repeat it: cargo xtask fuzz --guided {name} --seconds 1, input {input})"
            ));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("an input breaks {}", broken.join(", "));
}

/// Runs a target; gives the input that breaks it, if one does.
fn one(name: &str, arguments: &Arguments, folder: &Path, target: &Path) -> Result<Option<String>> {
    let (found, artifacts) =
        (target.join("corpus").join(name), target.join("artifacts").join(name));
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    // Earlier failing inputs run first: a bug that is not fixed fails again at once.
    let program = target.join(host()?).join("release").join(name);
    let mut command = shell::command(&program);
    command
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=4096"])
        .args([&found, &folder.join("corpus").join(name), &artifacts]);
    if !arguments.json {
        println!("==> {name}, for {} s", arguments.seconds);
    }
    let began = Instant::now();
    let said = command.output().with_context(|| format!("{} does not start", program.display()))?;
    // libFuzzer reports on stderr.
    let text = String::from_utf8_lossy(&said.stderr);
    let report = Report::read(&text);
    if arguments.json {
        let line = json!({
            "target": name,
            "seconds": began.elapsed().as_secs_f64(),
            "executions": report.executions,
            "coverage": report.coverage,
            "corpus": report.corpus,
            "broken": !said.status.success(),
            "input": report.input,
        });
        println!("{line}");
    } else {
        println!(
            "    {} executions, {} edges and comparisons covered, {} inputs kept",
            report.executions, report.coverage, report.corpus
        );
    }
    if said.status.success() {
        return Ok(None);
    }
    let tail: Vec<&str> = text.lines().rev().take(40).collect();
    println!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
    Ok(Some(report.input.unwrap_or_else(|| artifacts.display().to_string())))
}

/// The platform's own target triple.
fn host() -> Result<String> {
    let said = shell::read(shell::command("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// The final report of libFuzzer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    executions: u64,
    coverage: u64,
    corpus: u64,
    input: Option<String>,
}

impl Report {
    fn read(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            let after = |part: &str| line.split_once(part).map(|(_, rest)| rest.trim_start());
            let number = |rest: &str| {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                rest.get(..end)?.parse().ok()
            };
            if let Some(count) = after("stat::number_of_executed_units:").and_then(number) {
                report.executions = count;
            }
            if let Some(count) = after(" cov: ").and_then(number) {
                report.coverage = count;
            }
            if let Some(count) = after(" corp: ").and_then(number) {
                report.corpus = count;
            }
            if let Some(path) = after("Test unit written to ") {
                report.input = Some(path.to_owned());
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_figures_count() {
        let text = "#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb
#9\tNEW    cov: 12 ft: 14 corp: 3/19b lim: 4 exec/s: 0 rss: 30Mb L: 4/4 MS: 1 ShuffleBytes-
stat::number_of_executed_units: 512
artifact_prefix='a/'; Test unit written to a/crash-1";
        let report = Report::read(text);
        let expected = Report {
            executions: 512,
            coverage: 12,
            corpus: 3,
            input: Some("a/crash-1".to_owned()),
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn every_target_has_its_test_its_file_and_its_corpus() {
        let folder = shell::root().join("tests/fuzz");
        let tests = fs::read_to_string(folder.join("tests/altered.rs")).unwrap();
        for name in TARGETS {
            // The filter names this test and no other.
            assert_eq!(tests.matches(&format!("{name}_")).count(), 1, "{name}");
            assert!(tests.contains(&format!("fn {name}_")), "{name}");
            assert!(folder.join(format!("guided/targets/{name}.rs")).is_file(), "{name}");
            assert!(folder.join("corpus").join(name).is_dir(), "{name}");
        }
        assert!(ALWAYS.iter().all(|name| TARGETS.contains(name)));
    }
}
