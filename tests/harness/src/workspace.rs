//! What cargo knows about the workspace.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::shell;

/// The members of the workspace and where cargo builds them.
#[derive(Deserialize)]
pub struct Workspace {
    /// Every member.
    pub packages: Vec<Package>,
    /// Where cargo builds.
    pub target_directory: PathBuf,
}

/// One member.
#[derive(Deserialize)]
pub struct Package {
    /// The name.
    pub name: String,
    /// Where its `Cargo.toml` lies.
    pub manifest_path: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo fails, or writes something that is not its metadata.
    pub fn load() -> Result<Self> {
        let mut metadata = shell::cargo();
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        serde_json::from_str(&shell::read(&mut metadata)?).context("cargo metadata is not readable")
    }

    /// Tools that `cargo xtask setup` installs for this checkout alone.
    pub fn tools(&self) -> PathBuf {
        self.target_directory.join("tools")
    }

    /// Where the built components lie. `.cargo/config.toml` names the folder for the binary's
    /// build script and for this program alike.
    pub fn components(&self) -> PathBuf {
        std::env::var_os("TAMIS_FILTERS")
            .map_or_else(|| self.target_directory.join("components"), PathBuf::from)
    }

    /// Where `cargo xtask filters` puts the filters of `examples/filters`; no binary embeds them.
    pub fn examples(&self) -> PathBuf {
        self.target_directory.join("example-components")
    }
}
