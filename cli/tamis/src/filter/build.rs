//! `tamis filter build`: a crate becomes a component.

use crate::builtin::Description;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use wit_component::ComponentEncoder;

/// What `build` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the filter.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Target of filters: no system interface at all.
const TARGET: &str = "wasm32-unknown-unknown";

/// A filter that was built.
pub(crate) struct Made {
    /// What its author says of it.
    pub(crate) description: Description,
    /// Where the component is.
    pub(crate) file: PathBuf,
    /// The component.
    pub(crate) component: Vec<u8>,
}

/// Builds and says where the component is.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let made = make(&arguments.folder)?;
    let inspection = tamis_engine::inspect(&made.component)?;
    let value = json!({
        "name": made.description.name, "version": made.description.version, "file": made.file,
        "size": made.component.len(), "imports": inspection.imports,
    });
    output::result(output, &value, || {
        let (file, size) = (made.file.display(), made.component.len().div_ceil(1024));
        format!("{file}  {size} KiB")
    });
    Ok(ExitCode::SUCCESS)
}

/// Builds the filter of a folder.
pub(crate) fn make(folder: &Path) -> Result<Made> {
    let path = folder.join("filter.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("{} cannot be read; `tamis filter new` makes a folder that has one", path.display())
    })?;
    let description: Description =
        serde_norway::from_str(&text).with_context(|| format!("{}", path.display()))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--release",
            "--lib",
            "--target",
            TARGET,
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(folder)
        .stderr(std::process::Stdio::inherit());
    let built = cargo.output().context("cargo cannot be run; install Rust: https://rustup.rs")?;
    if !built.status.success() {
        bail!(
            "the filter does not compile; if it is the target that is missing: rustup target add {TARGET}"
        );
    }
    let module = module(&built.stdout)
        .context("cargo built no WebAssembly; `crate-type` in Cargo.toml must have \"cdylib\"")?;
    let octets = std::fs::read(&module).with_context(|| format!("{}", module.display()))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&octets)
        .and_then(|mut encoder| encoder.encode())
        .context("the module is no filter; does it call `tamis_sdk::export!`?")?;
    let name = description.name.rsplit('/').next().unwrap_or(&description.name);
    let target = folder.join("target");
    std::fs::create_dir_all(&target).with_context(|| format!("{}", target.display()))?;
    let file = target.join(format!("{name}.wasm"));
    super::artifact::put(&file, &component)?;
    Ok(Made { description, file, component })
}

/// The WebAssembly file among what cargo says it made.
fn module(messages: &[u8]) -> Option<PathBuf> {
    let lines = String::from_utf8_lossy(messages);
    let mut files = lines.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message.get("filenames")?.as_array()?.clone();
        files
            .iter()
            .filter_map(|file| file.as_str())
            .find(|file| file.ends_with(".wasm"))
            .map(PathBuf::from)
    });
    files.next_back()
}
