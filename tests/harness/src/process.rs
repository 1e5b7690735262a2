//! The binary under test, and processes of it.

use crate::wait::PATIENCE;
use crate::{eventually, root};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary, built if it is not up to date.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            // The same features as the tests: no dependency is compiled twice.
            .args(["build", "--quiet", "--workspace", "--bin", "tamis", "--test", "layers"])
            .current_dir(root())
            .status()
            .unwrap();
        assert!(built.success());
        root().join("target/debug/tamis")
    })
}

/// The binary, in a folder, as a user whose own folders belong to this test process and who has named no registry.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    command_in(&[], folder, arguments)
}

/// The same, started by `wrapper`, a command line whose last argument is a program: `ip netns exec NAME`.
pub fn command_in(wrapper: &[&str], folder: &Path, arguments: &[&str]) -> Command {
    static USER: OnceLock<TempDir> = OnceLock::new();
    let user = USER.get_or_init(|| TempDir::with_prefix("tamis-").unwrap()).path();
    let mut command = match wrapper {
        [] => Command::new(binary()),
        [program, first @ ..] => {
            let mut command = Command::new(program);
            command.args(first).arg(binary());
            command
        }
    };
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("TAMIS_REGISTRY")
        .env_remove("TAMIS_TOKEN");
    for (name, folder) in [("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state")] {
        command.env(name, user.join(folder));
    }
    command
}

/// Runs a command of the binary to its end.
pub fn tamis(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments)
        // The dependencies of filters are compiled once for all tests.
        .env("CARGO_TARGET_DIR", root().join("target/guests"))
        .output()
        .unwrap()
}

/// A running process of the binary; killed when dropped.
pub struct RunningProcess {
    child: Mutex<Child>,
    events: Arc<Mutex<Vec<Value>>>,
    errors: Arc<Mutex<String>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
}

/// Starts `tamis up` in a folder and waits until everything serves.
pub fn up(folder: &Path, arguments: &[&str]) -> RunningProcess {
    let mut all = vec!["up", "."];
    all.extend_from_slice(arguments);
    let running = RunningProcess::start(folder, &all);
    running.event("up", |event| event["event"] == "up");
    running
}

impl RunningProcess {
    /// Starts the binary with JSON output.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_as(folder, arguments, &[])
    }

    /// The same with these variables of the environment.
    pub fn start_as(folder: &Path, arguments: &[&str], variables: &[(&str, &Path)]) -> Self {
        let mut command = command(folder, arguments);
        command.envs(variables.iter().copied());
        Self::spawn(command, arguments)
    }

    /// The same, started by a wrapper: see [`command_in`].
    pub fn start_in(wrapper: &[&str], folder: &Path, arguments: &[&str]) -> Self {
        Self::spawn(command_in(wrapper, folder, arguments), arguments)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command
            .args(["--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let errors = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (to, errs) = (Arc::clone(&events), Arc::clone(&errors));
        // The output of a process is shown with a failing test: a thread inherits the capture of its test.
        let name = format!("{} {}", arguments.first().unwrap_or(&"tamis"), child.id());
        let shown = name.clone();
        println!("{name}: started");
        let out_reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                println!("{shown}: {line}");
                if let Ok(event) = serde_json::from_str(&line) {
                    to.lock().unwrap().push(event);
                }
            }
        });
        let err_reader = std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                println!("{name}! {line}");
                let mut errors = errs.lock().unwrap();
                errors.push_str(&line);
                errors.push('\n');
            }
        });
        Self {
            child: Mutex::new(child),
            events,
            errors,
            readers: Mutex::new(vec![out_reader, err_reader]),
        }
    }

    /// Waits for an event it prints.
    pub fn event(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            // Checked first: what it printed before its end counts.
            let ended = self.ended();
            if let Some(event) = self.events.lock().unwrap().iter().rev().find(|event| is(event)) {
                return event.clone();
            }
            let late = Instant::now() >= until;
            assert!(
                !late,
                "not within {PATIENCE:?}: {what}; it said {:?} {}",
                self.events(),
                self.errors()
            );
            assert!(
                ended.is_none(),
                "it ended ({ended:?}) before: {what}; it said {:?} {}",
                self.events(),
                self.errors()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How it ended, if it has; everything it printed is read by then.
    fn ended(&self) -> Option<ExitStatus> {
        let ended = self.child.lock().unwrap().try_wait().unwrap()?;
        for reader in self.readers.lock().unwrap().drain(..) {
            reader.join().unwrap();
        }
        Some(ended)
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
        self.child.lock().unwrap().id()
    }

    /// Sends a signal and waits for the end.
    pub fn end(self, signal: &str) -> ExitStatus {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        eventually("the process ends", || self.ended())
    }

    /// Waits until it ends by itself.
    pub fn wait(self) -> (ExitStatus, String) {
        let status = eventually("the process ends", || self.ended());
        (status, self.errors())
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A running process of the binary whose stderr is a pipe that nobody reads; killed when dropped.
pub struct UnreadProcess {
    child: Child,
}

impl UnreadProcess {
    /// Starts the binary; nothing that it prints is seen.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        // The child keeps the end of the pipe that would be read, so writes to it wait when it is full.
        Self { child: command.spawn().unwrap() }
    }

    /// Sends the signal that ends it, and waits for the end.
    pub fn end(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        eventually("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for UnreadProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
