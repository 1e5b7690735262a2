//! Embeds the built-in filters and the SDK into the binary.
//!
//! Components come from the folder that `TAMIS_FILTERS` names (`cargo xtask filters` fills it). A binary
//! built without them reports so when a command needs a built-in filter.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = here.join("../..");
    println!("cargo::rerun-if-env-changed=TAMIS_FILTERS");
    let folder = env::var_os("TAMIS_FILTERS").map(PathBuf::from);
    let folder = root.join(folder.unwrap_or_else(|| "target/components".into()));
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut code = String::from("pub(crate) const FILTERS: &[(&str, &[u8], &str)] = &[\n");
    let mut found = files(&folder).unwrap_or_default();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    for component in &found {
        let description = component.with_extension("yaml");
        let name = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        println!("cargo::rerun-if-changed={}", component.display());
        let _ = writeln!(
            code,
            "    ({name:?}, include_bytes!({:?}), include_str!({:?})),",
            component.display().to_string(),
            description.display().to_string(),
        );
    }
    if found.is_empty() {
        println!("cargo::warning=no components to embed; run `cargo xtask filters` first");
    }
    code.push_str("];\n");
    embed(&mut code, "SDK", &root.join("sdk/rust"))?;
    embed(&mut code, "WIT", &root.join("wit"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("embedded.rs"), code)
}

/// All text files of a folder, by their path in it.
fn embed(code: &mut String, name: &str, folder: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let _ = writeln!(code, "pub(crate) const {name}: &[(&str, &str)] = &[");
    for file in files(folder)? {
        let path = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
        let _ = writeln!(code, "    ({path:?}, include_str!({:?})),", file.display().to_string());
    }
    code.push_str("];\n");
    Ok(())
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
