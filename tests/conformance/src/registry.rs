//! A registry for a suite: its own folder, a process that ends with it, the token made at its first start.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::listening;
use tamis_harness::Process;
use tamis_harness::Workspace;
use tamis_harness::shell;

/// A registry with nothing in it.
pub(super) struct Registry {
    _process: Process,
    folder: TempDir,
    way: Way,
    /// `HOST:PORT` on loopback.
    pub(super) address: String,
    /// May do everything.
    pub(super) token: String,
}

/// How a registry is spoken with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// In clear text.
    Clear,
    /// Over TLS, with a certificate of an authority of its own.
    Tls,
}

impl Registry {
    /// Starts one and waits until it serves.
    pub(super) fn start(way: Way) -> Result<Self> {
        let folder = TempDir::new()?;
        let binary = Workspace::load()?.target_directory.join("debug/tamis");
        let mut command = Command::new(&binary);
        command
            .args(["registry", "--data", "data", "--listen", "127.0.0.1:0", "--output", "json"])
            .current_dir(folder.path());
        if way == Way::Tls {
            let mut keys = shell::command(&binary);
            keys.args(["keys", "certificate", "registry", "--authority", "ca.crt"]);
            keys.args(["--host", "127.0.0.1"]).current_dir(folder.path());
            shell::read(&mut keys)?;
            command.args(["--certificate", "registry.crt", "--key", "registry.key"]);
        }
        let (process, said) = listening(&mut command)?;
        let ready: Value = serde_json::from_str(&said)
            .with_context(|| format!("the registry did not say where it serves: {said:?}"))?;
        let address = ready.get("address").and_then(Value::as_str);
        let address = address.context("the registry names no address")?.to_owned();
        let token = fs::read_to_string(folder.path().join("data/admin.token"))?.trim().to_owned();
        Ok(Self { _process: process, folder, way, address, token })
    }

    /// Where it keeps everything.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The authority that its callers must trust; `None` in clear text.
    pub(super) fn authority(&self) -> Option<PathBuf> {
        (self.way == Way::Tls).then(|| self.folder.path().join("ca.crt"))
    }
}
