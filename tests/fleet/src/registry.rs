//! The registry under test: a process of its own, and what it costs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tamis_client::{Client, ClientOptions};

/// A registry; ends when dropped.
pub(crate) struct Registry {
    binary: PathBuf,
    core: Option<u32>,
    folder: PathBuf,
    ports: (u16, u16),
    child: Child,
    /// The file with the keys of its director.
    pub(crate) director_keys: PathBuf,
}

impl Registry {
    /// Starts it with its data in `folder`, which has its certificates. On `core` alone, if one is named.
    pub(crate) fn start(binary: &Path, folder: &Path, core: Option<u32>) -> Result<Self> {
        let ports = (tamis_harness::ports::free(), tamis_harness::ports::free());
        let (child, director_keys) = spawn(binary, folder, core, ports)?;
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        Ok(Self { binary, core, folder, ports, child, director_keys })
    }

    /// Kills it without a word and starts it again.
    pub(crate) fn crash_and_start(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        let (child, _) = spawn(&self.binary, &self.folder, self.core, self.ports)?;
        self.child = child;
        Ok(())
    }

    /// Where proxies connect.
    pub(crate) fn proxies(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.ports.1).into()
    }

    /// A client of its admin.
    pub(crate) fn client(&self) -> Result<Client> {
        let mut options = ClientOptions::new(format!("http://127.0.0.1:{}", self.ports.0).parse()?);
        let token = fs::read_to_string(self.folder.join("data/admin.token"))?;
        options.token = Some(token.trim().to_owned());
        options.timeout = Duration::from_secs(900);
        Ok(Client::new(options)?)
    }

    /// Runs a command of the program under test in the folder; returns its JSON output.
    pub(crate) fn tamis(&self, arguments: &[&str]) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}", self.ports.0);
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.folder);
        if arguments.get(1) == Some(&"push") {
            command.args(["--registry", &url, "--token-file", "data/admin.token"]);
        }
        let done = command.args(["--output", "json"]).output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            bail!("`tamis {}` failed: {}", arguments.join(" "), said.trim());
        }
        Ok(serde_json::from_slice(&done.stdout)?)
    }

    /// Processor time it has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may have spaces (proc(5)); times are fields 14 and 15.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
        // A tick is 10 ms wherever Linux runs (USER_HZ, time(7)).
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory now and at most, in MiB.
    pub(crate) fn memory_mib(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok((kib("VmRSS:") / 1024, kib("VmHWM:") / 1024))
    }

    /// Bytes of the journal, with what is not merged into it yet.
    pub(crate) fn journal_bytes(&self) -> u64 {
        let size =
            |name: &str| fs::metadata(self.folder.join("data").join(name)).map_or(0, |it| it.len());
        size("journal.sqlite") + size("journal.sqlite-wal")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    binary: &Path,
    folder: &Path,
    core: Option<u32>,
    (listen, proxies): (u16, u16),
) -> Result<(Child, PathBuf)> {
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("registry.log"))?;
    let mut child = command
        .args(["registry", "--data", "data", "--output", "json"])
        .args(["--listen", &format!("127.0.0.1:{listen}")])
        .args(["--proxies", &format!("127.0.0.1:{proxies}")])
        .args(["--proxies-certificate", "registry.crt", "--proxies-key", "registry.key"])
        .args(["--proxies-ca", "ca.crt"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("the registry cannot be started")?;
    let out = child.stdout.take().context("it has no output")?;
    for line in BufReader::new(out).lines() {
        let event: Value = serde_json::from_str(&line?).unwrap_or_default();
        if event.get("event").and_then(Value::as_str) == Some("ready") {
            let keys = event.get("directorKeys").and_then(Value::as_str);
            return Ok((child, folder.join(keys.context("it names no keys")?)));
        }
    }
    bail!("the registry ended: {}", fs::read_to_string(folder.join("registry.log"))?)
}
