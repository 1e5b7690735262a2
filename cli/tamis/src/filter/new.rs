//! `tamis filter new`: makes a folder with a filter that builds and passes its tests at once.

use super::world::World;
use crate::builtin::{SDK, WIT};
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_trust::Name;

/// Arguments of `new`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder to make; its last part names the filter.
    folder: PathBuf,
    /// NAMESPACE of the filter's name.
    #[arg(long, default_value = "acme")]
    namespace: String,
    /// World of the contract that the filter is written for.
    #[arg(long, value_enum, default_value_t)]
    world: World,
}

const CARGO: &str = include_str!("new/Cargo.toml.in");
const SDK_CARGO: &str = include_str!("new/sdk.Cargo.toml.in");
const DESCRIPTION: &str = include_str!("new/filter.yaml.in");
const README: &str = include_str!("new/README.md.in");

/// JSON Schema of the tables of cases; editors find it by the first line of a table.
const SCHEMA: &str = "tests/cases.schema.json";
const MODELINE: &str = "# yaml-language-server: $schema=cases.schema.json\n";

/// Writes the folder.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    named(name)?;
    format!("{}/{name}", arguments.namespace).parse::<Name>().context("--namespace")?;
    let template = arguments.world.template();
    let fill = |text: &str| {
        text.replace("@ABOUT@", template.about)
            .replace("@CONFIG@", template.config)
            .replace("@WORLD@", &arguments.world.name())
            .replace("@NAME@", name)
            .replace("@NAMESPACE@", &arguments.namespace)
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
    };
    make(folder)?;
    for (path, text) in [
        ("Cargo.toml", fill(CARGO)),
        ("src/lib.rs", fill(template.code)),
        ("tests/cases.yaml", format!("{MODELINE}{}", fill(template.cases))),
        (SCHEMA, serde_json::to_string_pretty(&tamis_testkit::Table::schema())? + "\n"),
        ("filter.yaml", fill(DESCRIPTION)),
        ("README.md", fill(README)),
        (".gitignore", "/target\n".to_owned()),
        ("vendor/tamis/sdk/rust/Cargo.toml", fill(SDK_CARGO)),
    ] {
        write(&folder.join(path), &text)?;
    }
    for (path, text) in SDK.iter().filter(|(path, _)| *path != "Cargo.toml") {
        write(&folder.join("vendor/tamis/sdk/rust").join(path), text)?;
    }
    // Earlier versions of the contract are in folders of their own; a new filter is of the newest.
    for (path, text) in WIT.iter().filter(|(path, _)| !path.contains('/')) {
        write(&folder.join("vendor/tamis/wit").join(path), text)?;
    }
    let shown = folder.display();
    output::result(output, &json!({ "folder": folder, "name": name }), || {
        format!(
            "made {shown}\n  filter.yaml       its name, release and world\n  src/lib.rs        what the filter does\n  \
             tests/cases.yaml  what it should do\nnext: tamis filter test {shown}"
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Longest name of a filter: names of files are made of it.
const NAME_MAX: usize = 64;
/// Names that mean something else to `cargo` or the compiler.
const TAKEN: [&str; 59] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "tamis-sdk",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "wit-bindgen",
    "yield",
];

/// Checks that a crate and a filter may have this name.
fn named(name: &str) -> Result<()> {
    let shown: String = name.chars().take(NAME_MAX).collect();
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.ends_with('-');
    if !fits {
        bail!(
            "`{shown}` is not a name for a filter; use lower-case letters, digits and `-`, with a letter first and no `-` last"
        );
    }
    if name.len() > NAME_MAX {
        bail!("`{shown}…` has {} characters; a filter's name has at most {NAME_MAX}", name.len());
    }
    if TAKEN.contains(&name) {
        bail!(
            "`{name}` means something else to Rust; choose another name, such as `{name}-filter`"
        );
    }
    Ok(())
}

/// Makes the folder, which nobody else can write to. Whatever has its name already, be it a link to nothing, stays as it is.
fn make(folder: &Path) -> Result<()> {
    let cannot = || format!("{} cannot be made", folder.display());
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).with_context(cannot)?;
    }
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already; choose another name or remove it", folder.display())
        }
        made => made.with_context(cannot),
    }
}

/// Writes a new file of the folder.
fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    File::create_new(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests;
