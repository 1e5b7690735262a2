//! The files of a signed filter: component, manifest and signatures, in one folder.

use crate::named_file;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use tamis_trust::{BuildInput, Digest, Manifest, PrivateKey, build, sign};

pub(crate) use tamis_node::artifact_file_name as file_name;

/// The name that earlier releases gave to the file, the same for several names.
fn former_name(name: &str, version: &str) -> String {
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
    let same = |path: PathBuf, octets: &[u8]| {
        named_file::component(path).is_ok_and(|found| found == octets)
    };
    same(file.to_owned(), component)
        && same(beside(file, ".manifest.json"), manifest)
        && beside(file, ".sigstore.json").exists()
}

/// Refuses a release whose version names another artifact already: a version names one set of bytes. Looks also where an
/// earlier release stored it.
pub(crate) fn is_new(file: &Path, manifest: &[u8], name: &str, version: &str) -> Result<()> {
    let former = file.with_file_name(former_name(name, version));
    for file in [file, &former] {
        let Ok(there) = named_file::octets(beside(file, ".manifest.json")) else { continue };
        if there == manifest || is_of_another(&there, name, version) {
            continue;
        }
        bail!(
            "{name} {version} exists already with other bytes, in {}: sign these with a higher version (--version {}), or, as long as nobody else has the old ones, overwrite them with --replace (manifest there {}, here {})",
            file.display(),
            next(version),
            Digest::of(&there),
            Digest::of(manifest)
        )
    }
    Ok(())
}

/// The version after this one: the last number by one higher, without what follows it.
pub(crate) fn next(version: &str) -> String {
    let core = version.split(['-', '+']).next().unwrap_or(version);
    let raised = core.rsplit_once('.').and_then(|(before, last)| {
        Some(format!("{before}.{}", last.parse::<u64>().ok()?.checked_add(1)?))
    });
    raised.unwrap_or_else(|| "VERSION".to_owned())
}

/// Refuses to overwrite the artifact of another filter or version: earlier releases gave several of them one file.
pub(crate) fn is_free(file: &Path, name: &str, version: &str) -> Result<()> {
    match named_file::octets(beside(file, ".manifest.json")) {
        Ok(there) if is_of_another(&there, name, version) => bail!(
            "{} holds another filter than {name} {version}; store that one again (`tamis filter pull` or `tamis filter sign`), which gives it a file of its own, and remove this one, or use another store",
            file.display()
        ),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether a manifest is of another filter, or of another version.
fn is_of_another(manifest: &[u8], name: &str, version: &str) -> bool {
    Manifest::parse(manifest).is_ok_and(|there| {
        there.name().to_string() != name || there.version().to_string() != version
    })
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

/// Writes a file for everybody to read: a reader sees the whole file or no file.
pub(crate) fn put(path: &Path, octets: &[u8]) -> Result<()> {
    tamis_private::put_readable(path, octets)
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_name_and_version_has_a_file_of_its_own() {
        let parts =
            ["a", "b", "c", "a-b", "b-c", "a.b", "b--c", "a_b", "b-1", "1", "a-b-c", "b-1.0.0"];
        let versions = ["1.0.0", "2.0.0", "1.0.0-1.0.0", "1.0.0-rc.1", "1.0.0-2.0.0", "10.0.0"];
        let two =
            parts.iter().flat_map(|one| parts.iter().map(move |other| format!("{one}/{other}")));
        let three =
            parts.iter().flat_map(|one| parts.iter().map(move |other| format!("{one}/{other}/c")));
        let (mut seen, mut number) = (std::collections::HashMap::new(), 0);
        for name in two.chain(three) {
            for version in versions {
                let file = file_name(&name, version);
                assert!(!file.contains('/'), "{file}");
                let other = seen.insert(file.clone(), (name.clone(), version));
                assert_eq!(other, None, "{name} {version}: {file}");
                number += 1;
            }
        }
        assert_eq!(number, 2 * parts.len() * parts.len() * versions.len());
        assert_eq!(file_name("acme/my-filter", "0.1.0"), "acme-my-filter-0.1.0.wasm", "as before");
        assert_eq!(file_name("a-b/c", "0.1.0"), "a-b~c~0.1.0.wasm");
    }

    #[test]
    fn what_an_earlier_release_stored_is_found_and_not_overwritten_by_another_filter() {
        let store = tempfile::tempdir().unwrap();
        let builtins = crate::builtin::all().unwrap();
        let component = &builtins.first().expect("built without filters").component;
        let of = |name: &str| manifest(component, name, "1.0.0").unwrap();
        // As an earlier release stored `a-b/c`.
        let former = store.path().join(former_name("a-b/c", "1.0.0"));
        fs::write(beside(&former, ".manifest.json"), of("a-b/c")).unwrap();
        let file = |name: &str| store.path().join(file_name(name, "1.0.0"));
        assert!(is_new(&file("a-b/c"), &of("a-b/c"), "a-b/c", "1.0.0").is_ok(), "the same");
        let said = is_new(&file("a-b/c"), b"other", "a-b/c", "1.0.0").unwrap_err().to_string();
        assert!(said.contains("exists already with other bytes"), "{said}");
        assert_eq!(file("a/b-c"), former);
        assert!(is_new(&file("a/b-c"), &of("a/b-c"), "a/b-c", "1.0.0").is_ok());
        let said = is_free(&file("a/b-c"), "a/b-c", "1.0.0").unwrap_err().to_string();
        assert!(said.contains("another filter than a/b-c 1.0.0"), "{said}");
        assert!(is_free(&file("a-b/c"), "a-b/c", "1.0.0").is_ok());
    }
}
