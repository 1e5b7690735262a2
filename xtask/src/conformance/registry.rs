//! A registry for a suite: a folder of its own, a process that ends with it, the token it made at its first start.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::listening;
use crate::process::Process;
use crate::workspace::Workspace;

/// A registry with nothing in it.
pub(super) struct Registry {
    _process: Process,
    _folder: TempDir,
    /// `HOST:PORT`, in clear text.
    pub(super) address: String,
    /// May do everything.
    pub(super) token: String,
}

impl Registry {
    /// Starts one and waits until it serves.
    pub(super) fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut command = Command::new(Workspace::load()?.target_directory.join("debug/tamis"));
        command
            .args(["registry", "--data", "data", "--listen", "127.0.0.1:0", "--output", "json"])
            .current_dir(folder.path());
        let (process, said) = listening(&mut command)?;
        let ready: Value = serde_json::from_str(&said)
            .with_context(|| format!("the registry did not say where it serves: {said:?}"))?;
        let address = ready.get("address").and_then(Value::as_str);
        let address = address.context("the registry names no address")?.to_owned();
        let token = fs::read_to_string(folder.path().join("data/admin.token"))?.trim().to_owned();
        Ok(Self { _process: process, _folder: folder, address, token })
    }
}
