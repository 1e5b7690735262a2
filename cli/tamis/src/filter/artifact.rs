//! The files of a signed filter: component, manifest and signatures, in one folder.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use tamis_trust::{BuildInput, Digest, PrivateKey, build, sign};

/// Name of the component's file in a store.
pub(crate) fn file_name(name: &str, version: &str) -> String {
    format!("{}-{version}.wasm", name.replace('/', "-"))
}

/// The manifest of a component, which is what gets signed. Imports and exports are read from the component,
/// not taken from the author.
pub(crate) fn manifest(component: &[u8], name: &str, version: &str) -> Result<Vec<u8>> {
    let inspection = tamis_engine::inspect(component)?;
    let mut input = BuildInput::new(name, version);
    let interface = |kind: &str| inspection.contract.interface(kind);
    input.imports = inspection.imports.iter().map(|import| interface(import)).collect();
    input.imports.extend(inspection.wasi.iter().cloned());
    input.exports = inspection.hooks.iter().map(|hook| interface(hook.as_str())).collect();
    input.exports.push(interface("lifecycle"));
    Ok(build(component, &input)?)
}

/// The component's path with another ending.
pub(crate) fn beside(component: &Path, ending: &str) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

/// Whether exactly this artifact is there, with a signature.
pub(crate) fn is_there(file: &Path, manifest: &[u8], component: &[u8]) -> bool {
    let same = |path: PathBuf, octets: &[u8]| fs::read(path).is_ok_and(|found| found == octets);
    same(file.to_owned(), component)
        && same(beside(file, ".manifest.json"), manifest)
        && beside(file, ".sigstore.json").exists()
}

/// Refuses a release whose version names another artifact already: a version names one set of bytes.
pub(crate) fn is_new(file: &Path, manifest: &[u8], name: &str, version: &str) -> Result<()> {
    let there = match fs::read(beside(file, ".manifest.json")) {
        Ok(there) if there == manifest => return Ok(()),
        Ok(there) => Digest::of(&there),
        Err(_) => return Ok(()),
    };
    bail!(
        "{name} {version} already names another artifact: {there} in {}, {} here; raise the version of the new one, or overwrite the old one with --replace as long as nobody else has it",
        file.display(),
        Digest::of(manifest)
    )
}

/// Signs and writes an artifact. The component is written last and by rename: whoever finds it finds the
/// other files.
pub(crate) fn write(
    file: &Path,
    component: &[u8],
    manifest: &[u8],
    keys: &[&PrivateKey],
) -> Result<()> {
    let mut bundles = String::new();
    for key in keys {
        bundles.push_str(sign(key, manifest)?.trim_end());
        bundles.push('\n');
    }
    put(&beside(file, ".sigstore.json"), bundles.as_bytes())?;
    put(&beside(file, ".manifest.json"), manifest)?;
    put(file, component)
}

/// Writes to a temporary file and renames it: a reader sees the whole file or no file.
pub(crate) fn put(path: &Path, octets: &[u8]) -> Result<()> {
    let temporary = beside(path, &format!(".{}.tmp", std::process::id()));
    fs::write(&temporary, octets)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}
