//! The binary under test, and processes of it.

use crate::{eventually, root};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

/// The binary, built if it is not up to date.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "tamis"])
            .current_dir(root())
            .status()
            .unwrap();
        assert!(built.success());
        root().join("target/debug/tamis")
    })
}

/// Runs a command of the binary to its end.
pub fn tamis(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        // What filters are made of is compiled once for all tests.
        .env("CARGO_TARGET_DIR", root().join("target/guests"))
        .output()
        .unwrap()
}

/// A process of the binary that goes on; killed when dropped.
pub struct Running {
    child: Child,
    events: Arc<Mutex<Vec<Value>>>,
    errors: Arc<Mutex<String>>,
}

/// Starts `tamis up` in a folder and waits until everything serves.
pub fn up(folder: &Path, arguments: &[&str]) -> Running {
    let mut all = vec!["up", "."];
    all.extend_from_slice(arguments);
    let running = Running::start(folder, &all);
    running.event("up", |event| event["event"] == "up");
    running
}

impl Running {
    /// Starts the binary with JSON output.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(arguments)
            .args(["--output", "json"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let errors = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (to, errs) = (Arc::clone(&events), Arc::clone(&errors));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    to.lock().unwrap().push(event);
                }
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let mut errors = errs.lock().unwrap();
                errors.push_str(&line);
                errors.push('\n');
            }
        });
        Self { child, events, errors }
    }

    /// Waits for an event it prints.
    pub fn event(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{what}; it said {}", self.errors()), || {
            self.events.lock().unwrap().iter().rev().find(|event| is(event)).cloned()
        })
    }

    /// Everything it printed so far.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    /// What it wrote to stderr so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end.
    pub fn end(mut self, signal: &str) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        eventually("the process ends", || self.child.try_wait().unwrap())
    }

    /// Waits for the end it comes to by itself.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = eventually("the process ends", || self.child.try_wait().unwrap());
        // The reader may still have a line in hand.
        let errors = self.errors();
        (status, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
