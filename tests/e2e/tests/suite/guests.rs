//! Guests for these tests, built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tamis_e2e::{Folder, root, tamis};

/// The guest that does what its configuration states, as a component on disk.
pub(crate) fn behaviour() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| component("behaviour"))
}

/// The guest that hedges, weighs and tunnels.
pub(crate) fn traffic() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| component("traffic"))
}

/// The guest that fails at every hundredth request.
pub(crate) fn brittle() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| component("brittle"))
}

/// Builds a guest of `tests/guests/rust`.
pub(crate) fn component(name: &str) -> PathBuf {
    let target = root().join("target/guests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--target", "wasm32-unknown-unknown"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root().join("tests/guests/rust").join(name))
        .status()
        .unwrap();
    assert!(built.success(), "the guest does not build; is the wasm32 target installed?");
    let file = format!("wasm32-unknown-unknown/release/guest_{}.wasm", name.replace('-', "_"));
    let module = target.join(file);
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&std::fs::read(module).unwrap())
        .unwrap()
        .encode()
        .unwrap();
    let file = target.join(format!("{name}-{}.wasm", std::process::id()));
    std::fs::write(&file, component).unwrap();
    file
}

/// The grant of the guest.
pub(crate) const GRANT: &str = "  request: { readHeaders: [\"*\"], writeHeaders: [\"*\"], attributes: [\"*\"] }\n  \
     imports: { clock: {}, counters: {}, http-client: { hosts: [] }, kv: {}, log: {}, metrics: {}, \
     quota: { classes: {} }, records: {} }\n  limits: { time: 20ms }";

/// Signs the guest with the folder's key and pins it.
pub(crate) fn sign(folder: &Folder, version: &str) {
    sign_as(folder, behaviour(), "test/guest", version);
}

/// Signs a component with the folder's key and pins it.
pub(crate) fn sign_as(folder: &Folder, component: &Path, name: &str, version: &str) {
    let file = component.display().to_string();
    let done = tamis(
        folder.path(),
        &[
            "filter",
            "sign",
            &file,
            "--name",
            name,
            "--version",
            version,
            "--key",
            ".tamis/keys/local-dev.key",
            "--store",
            ".tamis/store",
            "--pin",
            ".tamis/filters.lock.yaml",
        ],
    );
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
