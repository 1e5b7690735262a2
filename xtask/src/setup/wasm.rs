//! The compilation target of filters.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell;

pub(crate) use tamis_harness::WASM_TARGET as TARGET;

/// Where this compiler looks for the target's standard library.
pub(crate) fn library_folder() -> Result<PathBuf> {
    let mut ask = shell::rustc();
    ask.args(["--print", "target-libdir", "--target", TARGET]);
    Ok(PathBuf::from(shell::read(&mut ask)?.trim_end()))
}

/// Whether the standard library is there.
pub(crate) fn installed() -> Result<bool> {
    let Ok(files) = library_folder()?.read_dir() else { return Ok(false) };
    Ok(files.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    }))
}

/// Lets rustup download it, for the toolchain in use.
pub(crate) fn with_rustup() -> Result<()> {
    shell::read(shell::command("rustup").args(["target", "add", TARGET])).map(drop)
}
