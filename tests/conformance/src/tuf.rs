//! Metadata written by `tamis policy`, read by python-tuf: the reference client of the format must accept
//! the same documents and refuse the same attacks as `tamis policy verify`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Outcome;
use tamis_harness::Workspace;
use tamis_harness::shell;

/// The reference implementation and the cryptography it checks signatures with.
const PACKAGES: [&str; 2] = ["tuf==7.0.1", "securesystemslib[crypto]==1.6.0"];
const VERSION: &str = "7.0.1";

const PATHS: [&str; 4] =
    ["policy/_all.json", "policy/acme.json", "policy/acme~team.json", "policy/beta.json"];

/// The keys of everybody.
const KEYS: [&str; 7] = ["ann", "bob", "eve", "security", "acme", "team", "online"];

/// Two states of a repository, the second with a new root, and delegations two deep.
const FIRST: &[&str] = &[
    "init --root-key ann.pub --root-key bob.pub --targets-key security.pub --online-key online.pub",
    "set * all.json",
    "delegate acme --key acme.pub",
    "set acme acme.json",
    "delegate acme/team --by acme --key team.pub",
    "set acme/team team.json",
    "sign --key ann.key",
    "sign --key bob.key",
    "sign --key security.key",
    "sign --key acme.key",
    "sign --key team.key",
    "refresh --key online.key",
];
const SECOND: &[&str] = &[
    "rotate-root --add eve.pub --remove ann.pub",
    "sign --key ann.key",
    "sign --key bob.key",
    "sign --key eve.key",
    "revoke acme --key author",
    "sign --key acme.key",
    "refresh --key online.key",
];

/// Files of the first state put back into the second, or altered where nothing follows the name.
const ATTACKS: [(&str, &[&str]); 6] = [
    (
        "rollback of everything",
        &["timestamp.json", "snapshot.json", "targets.json", "ns.acme.json"],
    ),
    ("rollback of the timestamp", &["timestamp.json"]),
    ("another state's snapshot", &["snapshot.json"]),
    ("another state's delegated role", &["ns.acme.json"]),
    ("an altered timestamp", &[]),
    ("an altered document", &[]),
];

/// A desk with everybody's keys and the repository.
struct Desk {
    folder: TempDir,
    tamis: PathBuf,
    python: PathBuf,
}

pub(super) fn run() -> Result<Vec<Outcome>> {
    let desk = Desk::new()?;
    desk.take(FIRST)?;
    let mut wrong = desk.compare("policy", "state")?;
    desk.copy("policy", "first")?;
    desk.take(SECOND)?;
    wrong.extend(desk.compare("policy", "state")?);
    wrong.extend(desk.compare("policy", "newcomer")?);
    for (name, files) in ATTACKS {
        wrong.extend(desk.attack(name, files)?);
    }
    let said = if wrong.is_empty() {
        format!("python-tuf {VERSION} accepts 3 states and refuses {} attacks", ATTACKS.len())
    } else {
        format!("python-tuf {VERSION}: {}", wrong.join("; "))
    };
    Ok(vec![Outcome {
        name: "tuf",
        said,
        passed: wrong.is_empty(),
        details: json!({ "wrong": wrong }),
    }])
}

impl Desk {
    fn new() -> Result<Self> {
        let workspace = Workspace::load()?;
        let environment = workspace.tools().join("tuf");
        let python = environment.join("bin/python");
        if !environment.join(VERSION).exists() {
            println!("    installing {}", PACKAGES.join(" "));
            shell::read(shell::command("python3").args(["-m", "venv"]).arg(&environment))?;
            let mut pip = shell::command(environment.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
            shell::read(&mut pip)?;
            fs::write(environment.join(VERSION), "")?;
        }
        let tamis = workspace.target_directory.join("debug/tamis");
        let desk = Self { folder: TempDir::new()?, tamis, python };
        for key in KEYS.iter().chain(&["author"]) {
            shell::read(desk.tamis().args(["keys", "generate", key]))?;
        }
        let author = fs::read_to_string(desk.path("author.pub"))?;
        for (file, pattern) in
            [("all.json", "*"), ("acme.json", "acme/*"), ("team.json", "acme/team/*")]
        {
            let policy = json!({
                "name": pattern, "namespaces": [pattern], "threshold": 1,
                "keys": [{ "name": "author", "publicKey": author }],
            });
            fs::write(desk.path(file), policy.to_string())?;
        }
        Ok(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tamis(&self) -> std::process::Command {
        let mut command = shell::command(&self.tamis);
        command.current_dir(self.folder.path());
        command
    }

    /// Runs lines of `tamis policy`.
    fn take(&self, lines: &[&str]) -> Result<()> {
        for line in lines {
            shell::read(self.tamis().arg("policy").args(line.split(' ')))?;
        }
        Ok(())
    }

    /// What python-tuf, with the saved `state`, accepts of a folder, or why it refuses it.
    fn foreign(&self, folder: &str, state: &str) -> Result<Result<Value, String>> {
        let script = shell::root().join("tests/conformance/tuf/read.py");
        let mut command = shell::command(&self.python);
        command.arg(script).arg(self.path(folder)).arg(self.path(state)).args(PATHS);
        let output = shell::capture(&mut command)?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(Ok(serde_json::from_slice(&output.stdout)?));
        }
        // Anything but a refusal is a fault of the script or its surroundings.
        ensure!(!complaint.contains("Traceback"), "python-tuf did not run: {complaint}");
        Ok(Err(complaint.trim().to_owned()))
    }

    /// Compares what both readers accept of a good state; returns the differences.
    fn compare(&self, folder: &str, state: &str) -> Result<Vec<String>> {
        let ours = shell::read(
            self.tamis().args(["--output", "json", "policy", "verify", "--folder", folder]),
        )?;
        let ours: Value = serde_json::from_str(&ours)?;
        let theirs = match self.foreign(folder, state)? {
            Ok(theirs) => theirs,
            Err(refusal) => return Ok(vec![format!("it refuses what is good: {refusal}")]),
        };
        let mut wrong = Vec::new();
        for role in ours.get("roles").and_then(Value::as_array).context("verify names no roles")? {
            let name = role.get("role").and_then(Value::as_str).unwrap_or_default();
            let version = theirs.get("roles").and_then(|roles| roles.get(name));
            if version != role.get("version") {
                wrong.push(format!("{name}: {version:?} there, {role} here"));
            }
        }
        for path in PATHS {
            let here = fs::read_to_string(self.path(folder).join("targets").join(path)).ok();
            let there =
                theirs.get("documents").and_then(|all| all.get(path)).and_then(Value::as_str);
            if here.as_deref() != there {
                wrong.push(format!("{path} differs"));
            }
        }
        Ok(wrong)
    }

    /// Attacks the second state; returns the readers that did not notice. Ours has no memory between runs,
    /// so a complete rollback, which a new client cannot notice, is tested with python-tuf only.
    fn attack(&self, name: &str, files: &[&str]) -> Result<Option<String>> {
        self.copy("policy", "attacked")?;
        for file in files {
            fs::copy(
                self.path("first/metadata").join(file),
                self.path("attacked/metadata").join(file),
            )?;
        }
        let altered = match name {
            "an altered timestamp" => {
                Some(("attacked/metadata/timestamp.json", "\"version\": 2", "\"version\": 9"))
            }
            "an altered document" => Some(("attacked/targets/policy/acme.json", "acme/", "beta/")),
            _ => None,
        };
        if let Some((file, from, to)) = altered {
            let text = fs::read_to_string(self.path(file))?;
            let other = text.replace(from, to);
            ensure!(other != text, "{file} has no {from}");
            fs::write(self.path(file), other)?;
        }
        // One that has a file already does not ask for it again, and notices nothing.
        let state = if name.starts_with("another state") { "nobody" } else { "state" };
        fs::create_dir_all(self.path("nobody"))?;
        self.copy(state, "state-now")?;
        let theirs = self.foreign("attacked", "state-now")?;
        let ours = shell::capture(self.tamis().args(["policy", "verify", "--folder", "attacked"]))?;
        let ours = ours.status.success() && name != "rollback of everything";
        Ok(match (ours, theirs) {
            (false, Err(_)) => None,
            (true, _) => Some(format!("{name}: we accept it")),
            (false, Ok(_)) => Some(format!("{name}: python-tuf accepts it")),
        })
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let to = self.path(to);
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        copy_folder(&self.path(from), &to)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let mut copy = shell::command("cp");
    shell::read(copy.arg("-r").arg(from).arg(to)).map(|_| ())
}
