//! `cargo xtask conformance`: external test suites against the gateway and the registry.
//!
//! Each suite is installed at a pinned version in `target/tools`, talks to its own gateway and backends, or
//! its own registry, on free loopback ports, and writes its results to `target/conformance`.
#![expect(clippy::print_stdout, reason = "a developer's tool talks to the developer")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use clap::Parser;
use tamis_harness::{Process, Workspace, shell};

mod api;
mod desync;
mod gateway;
mod gibibyte;
mod grpc;
mod h1spec;
mod h2spec;
mod log;
mod oci;
mod oci_clients;
mod registry;
mod spire;
mod tuf;
mod websocket;

/// Arguments of `conformance`.
#[derive(Parser)]
#[command(name = "cargo xtask conformance", bin_name = "cargo xtask conformance")]
struct Arguments {
    /// Which suites; default: all.
    #[arg(value_enum)]
    names: Vec<Name>,
}

/// The suites.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// HTTP/2 (RFC 9113) and HPACK, strict, in clear text and over TLS.
    H2spec,
    /// HTTP/1.1 (RFC 9112), strict; needs a checkout in target/tools/h1spec.
    H1spec,
    /// Requests that parsers could read in two ways: the corpus of http-desync-guardian.
    Desync,
    /// Autobahn's WebSocket cases, directly and through the gateway; needs a Python 2.7.
    Websocket,
    /// The interop cases of grpc-go through a gateway and two sidecars.
    Grpc,
    /// A body of 1 GiB both ways, and the memory that the gateway needs for it.
    Gibibyte,
    /// The suite of OCI Distribution, 1.1 and dev, against a registry.
    Oci,
    /// Artifacts in and out of a registry with oras, crane, regctl and skopeo.
    OciClients,
    /// Signatures of cosign and of Tamis, each verified by the other, through a registry.
    Cosign,
    /// Policy metadata of `tamis policy`, read and attacked with python-tuf.
    Tuf,
    /// The transparency log of a registry, fetched and rebuilt by tessera's fsck.
    Log,
    /// The REST API of a registry, tested against its OpenAPI document with schemathesis.
    Api,
    /// Proxies whose SVIDs come from a SPIRE agent.
    Spire,
}

const ALL: [Name; 13] = [
    Name::H2spec,
    Name::H1spec,
    Name::Desync,
    Name::Websocket,
    Name::Grpc,
    Name::Gibibyte,
    Name::Oci,
    Name::OciClients,
    Name::Cosign,
    Name::Tuf,
    Name::Log,
    Name::Api,
    Name::Spire,
];

/// Result of a suite.
struct Outcome {
    name: &'static str,
    /// In one line.
    said: String,
    passed: bool,
    details: Value,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the suites and fails if one does.
fn run(arguments: &Arguments) -> Result<()> {
    shell::run(shell::cargo().args(["xtask", "build"]))?;
    let names = if arguments.names.is_empty() { &ALL[..] } else { &arguments.names };
    let folder = Workspace::load()?.target_directory.join("conformance");
    fs::create_dir_all(&folder)?;
    let mut outcomes = Vec::new();
    for name in names {
        let (suites, _) = match name {
            Name::H2spec => shell::step("h2spec", h2spec::run)?,
            Name::H1spec if arguments.names.is_empty() && h1spec::checkout()?.is_none() => {
                println!(
                    "==> h1spec\n    NOT RUN: there is no checkout of it in target/tools/h1spec"
                );
                continue;
            }
            Name::H1spec => shell::step("h1spec", h1spec::run)?,
            Name::Desync => shell::step("desync", desync::run)?,
            Name::Websocket => shell::step("websocket", websocket::run)?,
            Name::Grpc => shell::step("grpc", grpc::run)?,
            Name::Gibibyte => shell::step("gibibyte", gibibyte::run)?,
            Name::Oci => shell::step("oci", oci::run)?,
            Name::OciClients => shell::step("oci-clients", oci_clients::run)?,
            Name::Cosign => shell::step("cosign", oci_clients::cosign)?,
            Name::Tuf => shell::step("tuf", tuf::run)?,
            Name::Log => shell::step("log", log::run)?,
            Name::Api => shell::step("api", api::run)?,
            Name::Spire => shell::step("spire", spire::run)?,
        };
        for outcome in suites {
            let file = folder.join(format!("{}.json", outcome.name.replace(' ', "-")));
            let value = json!({
                "name": outcome.name, "passed": outcome.passed, "said": outcome.said,
                "details": outcome.details,
            });
            fs::write(file, serde_json::to_vec_pretty(&value)?)?;
            outcomes.push(outcome);
        }
    }
    println!("==> conformance");
    for outcome in &outcomes {
        let mark = if outcome.passed { "passed" } else { "FAILED" };
        println!("    {:<18} {mark}  {}", outcome.name, outcome.said);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    if failed > 0 {
        bail!("{failed} of {} suites failed; details are in {}", outcomes.len(), folder.display());
    }
    Ok(())
}

/// Where a Go program is, installed at that version if it is not there.
fn go_program(package: &str, version: &str) -> Result<PathBuf> {
    if !shell::exists_with("go", "version") {
        bail!("there is no go on this machine; install Go 1.22 or newer");
    }
    let folder = Workspace::load()?.target_directory.join("tools/go").join(version);
    let name = package.rsplit('/').next().unwrap_or(package);
    let program = folder.join(name);
    if !program.exists() {
        println!("    installing {package}@{version}");
        let mut go = shell::command("go");
        go.args(["install", &format!("{package}@{version}")]).env("GOBIN", &folder);
        shell::read(&mut go)?;
    }
    Ok(program)
}

/// Where programs of a Go module are, built if they are not there, in a module that requires them: `go install` with a version needs
/// the list of versions, which not every proxy of modules has.
fn go_tools(module: &str, version: &str, names: &[&str]) -> Result<Vec<PathBuf>> {
    if !shell::exists_with("go", "version") {
        bail!("there is no go on this machine; install Go 1.25 or newer");
    }
    let folder = Workspace::load()?.target_directory.join("tools/go").join(version);
    let programs: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    if programs.iter().all(|program| program.exists()) {
        return Ok(programs);
    }
    println!("    building {} of {module}@{version}, which takes minutes", names.join(" and "));
    let own = folder.join("module");
    fs::create_dir_all(&own)?;
    let go = |arguments: Vec<String>| {
        let mut go = shell::command("go");
        go.args(arguments).env("GOFLAGS", "-mod=mod").env("GOBIN", &folder).current_dir(&own);
        shell::read(&mut go)
    };
    if !own.join("go.mod").exists() {
        go(vec!["mod".to_owned(), "init".to_owned(), "tamis.test/tools".to_owned()])?;
    }
    let packages = || names.iter().map(|name| format!("{module}/cmd/{name}"));
    let tools = packages().map(|package| format!("{package}@{version}"));
    go(["get", "-tool"].map(str::to_owned).into_iter().chain(tools).collect())?;
    go(std::iter::once("install".to_owned()).chain(packages()).collect())?;
    Ok(programs)
}

/// A checkout in `target/tools`, if there is one; it must be at that commit.
fn checked_out(folder: &Path, commit: &str) -> Result<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    let at = shell::read(shell::command("git").args(["rev-parse", "HEAD"]).current_dir(folder))?;
    if !at.trim().starts_with(commit) {
        bail!("{} is at {}; check out {commit}", folder.display(), at.trim());
    }
    Ok(Some(folder.to_owned()))
}

/// The peer of `tests/conformance/peer`, built.
fn peer() -> Result<PathBuf> {
    let program = Workspace::load()?.target_directory.join("tools/go/peer");
    let mut go = shell::command("go");
    go.args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(shell::root().join("tests/conformance/peer"));
    shell::read(&mut go)?;
    Ok(program)
}

/// Starts a program that prints the address it listens on.
fn listening(command: &mut Command) -> Result<(Process, String)> {
    use std::io::{BufRead as _, BufReader};
    let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("it has no output")?;
    let process = Process(child);
    let mut address = String::new();
    BufReader::new(out).read_line(&mut address)?;
    Ok((process, address.trim().to_owned()))
}
