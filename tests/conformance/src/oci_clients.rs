//! Real clients against a registry, in clear text and over TLS: each copies, pulls, lists and deletes what
//! another pushed, and the bytes are unchanged.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use self::steps::{COSIGN, CRANE, ORAS, Program, REGCTL, SEED, SKOPEO, Step};
use super::registry::{Registry, Way};
use super::{Outcome, go_program};
use tamis_harness::Workspace;
use tamis_harness::packages;
use tamis_harness::shell;

mod steps;

const ORAS_VERSION: &str = "v1.3.3";
const CRANE_VERSION: &str = "v0.21.9";
const REGCTL_VERSION: &str = "v0.11.5";
const COSIGN_VERSION: &str = "v3.1.2";

/// The config that `wkg` and others write with a component.
const CONFIG: &str = r#"{"architecture":"wasm","os":"wasip2","layerDigests":[],"component":{"exports":[],"imports":[]}}"#;

/// What every client has at hand.
struct Scene {
    registry: Registry,
    /// A folder for each client, in which it also keeps its settings and credentials.
    folder: TempDir,
    /// The component all of them push.
    component: Vec<u8>,
    /// Its digest.
    layer: String,
}

/// A program, and the digest its steps speak of.
struct Client<'a> {
    scene: &'a Scene,
    program: PathBuf,
    home: PathBuf,
    digest: String,
}

pub(super) fn run() -> Result<Vec<Outcome>> {
    let oras = go_program("oras.land/oras/cmd/oras", ORAS_VERSION)?;
    let crane = go_program("github.com/google/go-containerregistry/cmd/crane", CRANE_VERSION)?;
    let regctl = go_program("github.com/regclient/regclient/cmd/regctl", REGCTL_VERSION)?;
    packages::install(&[("skopeo", "the client whose round trip is asked for")])?;
    let skopeo = PathBuf::from("skopeo");
    let skopeo_version = shell::read(shell::command(&skopeo).arg("--version"))?;

    let skopeo_version = skopeo_version.trim().trim_start_matches("skopeo version ");
    let clients = [
        (["oras", "oras tls"], ORAS_VERSION, oras.clone(), ORAS),
        (["crane", "crane tls"], CRANE_VERSION, crane, CRANE),
        (["regctl", "regctl tls"], REGCTL_VERSION, regctl, REGCTL),
        (["skopeo", "skopeo tls"], skopeo_version, skopeo, SKOPEO),
    ];
    let mut outcomes = Vec::new();
    for way in [Way::Clear, Way::Tls] {
        let scene = Scene::new(way)?;
        let mut seed = Client::new(&scene, "seed", oras.clone())?;
        for step in SEED {
            seed.take(step).with_context(|| format!("oras: {step:?}"))?;
        }
        for (names, version, program, steps) in &clients {
            let [clear, tls] = *names;
            let name = if way == Way::Clear { clear } else { tls };
            let mut client = Client::new(&scene, name, program.clone())?;
            client.digest.clone_from(&seed.digest);
            outcomes.push(client.outcome(name, version, steps));
        }
    }
    Ok(outcomes)
}

/// cosign and this program accept each other's signatures, and nothing else.
pub(super) fn cosign() -> Result<Vec<Outcome>> {
    let cosign = go_program("github.com/sigstore/cosign/v3/cmd/cosign", COSIGN_VERSION)?;
    let tamis = Workspace::load()?.target_directory.join("debug/tamis");
    let scene = Scene::new(Way::Clear)?;
    let mut client = Client::new(&scene, "cosign", tamis.clone())?;
    let mut failed = None;
    for (program, step) in COSIGN {
        client.program.clone_from(match program {
            Program::Tamis => &tamis,
            Program::Cosign => &cosign,
        });
        if let Err(error) = client.take(step) {
            failed = Some(format!("{program:?} {step:?}: {error:#}"));
            break;
        }
    }
    Ok(vec![outcome("cosign", COSIGN_VERSION, COSIGN.len(), failed)])
}

fn outcome(name: &'static str, version: &str, steps: usize, failed: Option<String>) -> Outcome {
    Outcome {
        name,
        said: failed.clone().unwrap_or_else(|| format!("{version}, {steps} steps")),
        passed: failed.is_none(),
        details: json!({ "version": version, "steps": steps, "failed": failed }),
    }
}

impl Scene {
    fn new(way: Way) -> Result<Self> {
        let path = Workspace::load()?.components().join("retry.wasm");
        let sum = shell::read(shell::command("sha256sum").arg(&path))?;
        let hex = sum.split_whitespace().next().context("sha256sum says nothing")?;
        Ok(Self {
            registry: Registry::start(way)?,
            folder: TempDir::new()?,
            component: fs::read(&path)?,
            layer: format!("sha256:{hex}"),
        })
    }
}

impl<'a> Client<'a> {
    fn new(scene: &'a Scene, name: &str, program: PathBuf) -> Result<Self> {
        let home = scene.folder.path().join(name);
        fs::create_dir(&home)?;
        fs::write(home.join("filter.wasm"), &scene.component)?;
        fs::write(home.join("config.json"), CONFIG)?;
        fs::write(home.join("token"), &scene.registry.token)?;
        Ok(Self { scene, program, home, digest: String::new() })
    }

    fn outcome(&mut self, name: &'static str, version: &str, steps: &[Step]) -> Outcome {
        let mut failed = None;
        for step in steps {
            if let Err(error) = self.take(step) {
                failed = Some(format!("{step:?}: {error:#}"));
                break;
            }
        }
        outcome(name, version, steps.len(), failed)
    }

    /// Takes one step and fails when it does not come to what it must.
    fn take(&mut self, step: &Step) -> Result<()> {
        match *step {
            Step::LogsIn(words) => {
                let token = format!("{}\n", self.scene.registry.token);
                done(self.run(words, &token)?).map(drop)
            }
            Step::Does(words) => done(self.run(words, "")?).map(drop),
            Step::Says(words, text) => {
                let said = String::from_utf8(done(self.run(words, "")?)?)?;
                ensure!(said.contains(text), "it does not say {text:?}: {said}");
                Ok(())
            }
            Step::Names(words) => {
                let said = String::from_utf8(done(self.run(words, "")?)?)?;
                said.trim().clone_into(&mut self.digest);
                ensure!(self.digest.starts_with("sha256:"), "that is no digest: {said}");
                Ok(())
            }
            Step::SaysDigest(words) => {
                let said = String::from_utf8(done(self.run(words, "")?)?)?;
                ensure!(said.trim() == self.digest, "{} became {said}", self.digest);
                Ok(())
            }
            Step::Prints(words) => {
                let printed = done(self.run(words, "")?)?;
                ensure!(printed == self.scene.component, "the component came back changed");
                Ok(())
            }
            Step::Writes(words, file) => {
                done(self.run(words, "")?)?;
                self.is_component(&self.home.join(file))
            }
            Step::Fails(words) => {
                let output = self.run(words, "")?;
                ensure!(!output.status.success(), "it succeeds");
                Ok(())
            }
        }
    }

    fn is_component(&self, file: &Path) -> Result<()> {
        let written = fs::read(file).with_context(|| format!("{} is not there", file.display()))?;
        ensure!(written == self.scene.component, "the component came back changed");
        Ok(())
    }

    /// Runs the program with these words, where `@R` is the registry, `@D` the digest and `@L` that of the component.
    fn run(&self, words: &str, input: &str) -> Result<Output> {
        let words = words
            .replace("@R", &self.scene.registry.address)
            .replace("@D", &self.digest)
            .replace("@L", &self.scene.layer);
        let authority = self.scene.registry.authority();
        let words = words.split_whitespace();
        let mut command = Command::new(&self.program);
        match &authority {
            None => command.args(words),
            // What Go looks for its roots in.
            Some(file) => command.args(words.filter_map(over_tls)).env("SSL_CERT_FILE", file),
        };
        let mut child = command
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env("DOCKER_CONFIG", self.home.join("docker"))
            .env("REGCTL_CONFIG", self.home.join("regctl.json"))
            .env("REGISTRY_AUTH_FILE", self.home.join("auth.json"))
            // The keys it makes here are for nobody.
            .env("COSIGN_PASSWORD", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }
}

/// A word without the flags for clear text; `None` if nothing is left.
fn over_tls(word: &str) -> Option<&str> {
    match word {
        "disabled" => Some("enabled"),
        word if word.ends_with("plain-http") || word.ends_with("tls-verify=false") => None,
        word => Some(word),
    }
}

/// What it printed, if it succeeded.
fn done(output: Output) -> Result<Vec<u8>> {
    if !output.status.success() {
        bail!("it fails: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(output.stdout)
}
