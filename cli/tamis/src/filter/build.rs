//! `tamis filter build`: compiles a crate into a component.

use crate::builtin::Description;
use crate::named_file;
use crate::output::{self, Output};
use crate::user_state;
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use wit_component::ComponentEncoder;

/// Arguments of `build`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the filter.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// The target filters are built for: no system interface at all.
const TARGET: &str = "wasm32-unknown-unknown";

/// A built filter.
pub(crate) struct BuiltFilter {
    /// The author's description of it.
    pub(crate) description: Description,
    /// Where the component is.
    pub(crate) file: PathBuf,
    /// The component.
    pub(crate) component: Vec<u8>,
}

/// Builds the filter and prints where the component is.
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
    user_state::keep_compiled(&made.component);
    Ok(ExitCode::SUCCESS)
}

/// Builds the filter of a folder.
pub(crate) fn make(folder: &Path) -> Result<BuiltFilter> {
    let description = description(folder)?;
    if !folder.join("Cargo.toml").exists() {
        bail!(
            "{} has no Cargo.toml, and only filters in Rust are built here; build the component with the tools of its language, and give it with `--component FILE` to `tamis filter test` and `tamis filter run` (docs/how-to/other-languages.md)",
            folder.display()
        );
    }
    super::lost_output::note(folder);
    let target = target()?;
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
        bail!("{}", no_build(target));
    }
    let module = module(&built.stdout)
        .context("cargo built no WebAssembly; `crate-type` in Cargo.toml must have \"cdylib\"")?;
    let octets = named_file::component(&module).with_context(|| format!("{}", module.display()))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&octets)
        .and_then(|mut encoder| encoder.encode())
        .context("the module is not a filter; does it call `tamis_sdk::export!`?")?;
    if let Some(world) = &description.world {
        super::contract::fits(&tamis_engine::inspect(&component)?, world)?;
    }
    let name = description.name.rsplit('/').next().unwrap_or(&description.name);
    let target = made_folder(folder)?;
    std::fs::create_dir_all(&target).with_context(|| format!("{}", target.display()))?;
    let file = target.join(format!("{name}.wasm"));
    super::artifact::put(&file, &component)?;
    Ok(BuiltFilter { description, file, component })
}

/// The folder for what is made of a filter's folder. No link there is followed: whoever made the folder chose where it leads.
///
/// # Errors
/// It is a link.
pub(super) fn made_folder(folder: &Path) -> Result<PathBuf> {
    let target = folder.join("target");
    if target.is_symlink() {
        bail!(
            "{} is a link, and nothing is written behind it; remove it, or set CARGO_TARGET_DIR to have cargo build elsewhere",
            target.display()
        );
    }
    Ok(target)
}

/// A filter that was built by the tools of its language.
///
/// # Errors
/// `filter.yaml` or the component is missing or invalid, or the component is not of the world that `filter.yaml` names.
pub(crate) fn taken(folder: &Path, file: &Path) -> Result<BuiltFilter> {
    let description = description(folder)?;
    let component = read(file)?;
    let inspection =
        tamis_engine::inspect(&component).with_context(|| format!("{}", file.display()))?;
    if let Some(world) = &description.world {
        super::contract::fits(&inspection, world)?;
    }
    Ok(BuiltFilter { description, file: file.to_owned(), component })
}

/// The octets of a component.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    named_file::component(file)
        .with_context(|| format!("the component {} cannot be read", file.display()))
}

/// The author's description of the filter in a folder.
///
/// # Errors
/// `filter.yaml` is missing or invalid.
pub(crate) fn description(folder: &Path) -> Result<Description> {
    let path = folder.join("filter.yaml");
    let text = named_file::text(&path).with_context(|| {
        format!(
            "{} cannot be read; write `name: NAMESPACE/NAME`, `version: 0.1.0` and `world: WORLD` into it, or let `tamis filter new` make a folder in Rust that has one",
            path.display()
        )
    })?;
    Description::parse(&text).with_context(|| format!("{}", path.display()))
}

/// Whether the standard library for the target is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    There,
    Missing,
    /// The compiler does not report it.
    Unknown,
}

/// Asks the compiler that cargo would use.
fn target() -> Result<Target> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(asked) = asked else { return Ok(Target::Unknown) };
    if !asked.status.success() {
        return Ok(Target::Unknown);
    }
    let folder = String::from_utf8(asked.stdout).context("the compiler reports no folder")?;
    Ok(target_in(Path::new(folder.trim())))
}

fn target_in(folder: &Path) -> Target {
    let core = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("libcore-");
    let Ok(entries) = std::fs::read_dir(folder) else { return Target::Missing };
    let there = entries.flatten().any(|entry| core(&entry.file_name()));
    if there { Target::There } else { Target::Missing }
}

/// Why there is no component; cargo has printed its own messages by then.
fn no_build(target: Target) -> String {
    let help = match target {
        Target::There | Target::Unknown => "see the messages above",
        Target::Missing => {
            return format!(
                "this machine has no standard library for {TARGET}, which filters are built for; install it: rustup target add {TARGET} (in a checkout of Tamis: cargo xtask setup)"
            );
        }
    };
    format!("the filter does not compile; {help}")
}

/// The WebAssembly file among those that cargo reports.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_blamed_only_where_it_is_missing() {
        let folder = tempfile::TempDir::new().unwrap();
        assert_eq!(target_in(folder.path()), Target::Missing);
        assert_eq!(target_in(&folder.path().join("nowhere")), Target::Missing);
        std::fs::write(folder.path().join("libcore-0123.rlib"), "").unwrap();
        assert_eq!(target_in(folder.path()), Target::There);
        for (target, blamed) in
            [(Target::There, false), (Target::Unknown, false), (Target::Missing, true)]
        {
            let said = no_build(target);
            assert_eq!(said.contains("rustup target add"), blamed, "{said}");
            assert_eq!(said.contains("does not compile"), !blamed, "{said}");
        }
    }

    #[test]
    fn a_description_is_read_before_anything_is_built_and_says_what_is_wrong() {
        let folder = tempfile::TempDir::new().unwrap();
        for (text, says) in [
            ("name: acme/a\nversion: 0.1.0\nrole: authorizer\n", "`role` is called `world` now"),
            ("name: acme/a\nversion: 0.1.0\nworld: authoriser\n", "did you mean `authorizer`?"),
            ("name: acme/a\nversion: 0.1\n", "MAJOR.MINOR.PATCH"),
            ("name: Acme\nversion: 0.1.0\n", "NAMESPACE/NAME"),
            ("nam: acme/a\n", "unknown field `nam`"),
            ("name: acme/a\n", "missing field `version`"),
        ] {
            std::fs::write(folder.path().join("filter.yaml"), text).unwrap();
            let said = format!("{:#}", description(folder.path()).err().unwrap());
            assert!(said.contains("filter.yaml") && said.contains(says), "{text}: {said}");
        }
        std::fs::remove_file(folder.path().join("filter.yaml")).unwrap();
        let said = format!("{:#}", description(folder.path()).err().unwrap());
        assert!(said.contains("tamis filter new"), "{said}");
        assert!(said.contains("`name: NAMESPACE/NAME`"), "{said}");
    }

    #[test]
    fn a_folder_in_another_language_is_not_given_to_cargo() {
        let folder = tempfile::TempDir::new().unwrap();
        let text = "name: acme/a\nversion: 0.1.0\nworld: head-policy\n";
        std::fs::write(folder.path().join("filter.yaml"), text).unwrap();
        let said = format!("{:#}", make(folder.path()).err().unwrap());
        assert!(said.contains("no Cargo.toml") && said.contains("--component FILE"), "{said}");
        let file = folder.path().join("a.wasm");
        let said = format!("{:#}", taken(folder.path(), &file).err().unwrap());
        assert!(said.contains("a.wasm cannot be read"), "{said}");
        std::fs::write(&file, "no component").unwrap();
        let said = format!("{:#}", taken(folder.path(), &file).err().unwrap());
        assert!(said.contains("a.wasm"), "{said}");
    }
}
