//! From component to a verified artifact, and every way it fails.

use super::*;
use crate::builtin;
use crate::filter::verify::tests::refusal;
use std::path::Path;
use tempfile::TempDir;

/// A folder with a component and two keys.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let builtin = builtin::all().unwrap().into_iter().find(|one| one.name == "tamis/retry");
    let component = builtin.expect("built without filters; run cargo xtask build").component;
    std::fs::write(folder.path().join("in.wasm"), component).unwrap();
    for name in ["release", "other"] {
        keys::generate(&folder.path().join(name)).unwrap();
    }
    folder
}

fn arguments(folder: &Path) -> Arguments {
    Arguments {
        component: folder.join("in.wasm"),
        name: "acme/retry".to_owned(),
        version: "1.2.3".to_owned(),
        key: vec![folder.join("release.key")],
        store: folder.join("store"),
        replace: false,
        pin: None,
        service: "*".to_owned(),
    }
}

fn said(arguments: &Arguments) -> String {
    format!("{:#}", run(arguments, Output::Json).unwrap_err())
}

#[test]
fn what_is_signed_can_be_verified_and_every_change_to_it_is_refused_by_its_rule() {
    let folder = folder();
    let here = folder.path();
    run(&arguments(here), Output::Json).unwrap();
    let file = here.join("store/acme-retry-1.2.3.wasm");
    let key = |name: &str| here.join(name).display().to_string();
    let (release, other) = (key("release.pub"), key("other.pub"));
    let refused = |arguments: &[&str]| refusal(&file, arguments);
    assert_eq!(refused(&["--key", &release]), None);
    assert_eq!(refused(&["--key", &release, "--name", "acme/retry"]), None);
    let code = |arguments: &[&str]| refused(arguments).unwrap();
    assert_eq!(code(&["--key", &other]), "trust.unknown-key");
    assert_eq!(code(&["--key", &release, "--key", &other]), "trust.threshold");
    assert_eq!(code(&["--key", &release, "--name", "acme/else"]), "trust.wrong-name");
    let digest = Digest::of(b"another").to_string();
    assert_eq!(code(&["--key", &release, "--digest", &digest]), "trust.altered");

    let change = |ending: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let path = artifact::beside(&file, ending);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, change(whole.clone())).unwrap();
        let code = code(&["--key", &release]);
        std::fs::write(&path, whole).unwrap();
        code
    };
    assert_eq!(change("", &|octets| [octets, vec![0]].concat()), "trust.altered");
    assert_eq!(
        change("", &|mut octets| {
            octets[100] ^= 1;
            octets
        }),
        "trust.altered"
    );
    assert_eq!(change(".sigstore.json", &|_| Vec::new()), "trust.unsigned");
    assert_eq!(change(".sigstore.json", &|_| b"{}\n".to_vec()), "trust.format");
    let manifest =
        |octets: Vec<u8>| String::from_utf8(octets).unwrap().replace("1.2.3", "1.2.4").into_bytes();
    assert_eq!(change(".manifest.json", &manifest), "trust.wrong-subject");
    assert_eq!(refused(&["--key", &release]), None, "put right it may run again");
}

#[test]
fn several_keys_sign_and_the_pin_is_the_digest_of_the_manifest() {
    let folder = folder();
    let here = folder.path();
    let lock = here.join("filters.lock.yaml");
    let arguments = Arguments {
        key: vec![here.join("release.key"), here.join("other.key")],
        pin: Some(lock.clone()),
        service: "shop/pay".to_owned(),
        ..arguments(here)
    };
    run(&arguments, Output::Json).unwrap();
    let file = here.join("store/acme-retry-1.2.3.wasm");
    let keys = ["release.pub", "other.pub"].map(|name| here.join(name).display().to_string());
    assert_eq!(refusal(&file, &["--key", &keys[0], "--key", &keys[1]]), None);
    let manifest = std::fs::read(artifact::beside(&file, ".manifest.json")).unwrap();
    let pins = lock::read(&lock).unwrap().filters;
    assert_eq!(pins.len(), 1);
    assert_eq!(
        (pins[0].service.as_str(), pins[0].digest.clone()),
        ("shop/pay", Digest::of(&manifest).to_string())
    );
}

#[test]
fn what_cannot_be_signed_is_named_and_nothing_is_written() {
    let folder = folder();
    let here = folder.path();
    std::fs::write(here.join("text.wasm"), "no component").unwrap();
    std::fs::write(here.join("bad.lock.yaml"), "kind: [\n").unwrap();
    let with = |change: &dyn Fn(&mut Arguments)| {
        let mut arguments = arguments(here);
        change(&mut arguments);
        said(&arguments)
    };
    for (said, parts) in [
        (with(&|one| one.component = here.join("gone.wasm")), ["gone.wasm", "cannot be read"]),
        (with(&|one| one.component = here.join("text.wasm")), ["text.wasm", "not WebAssembly"]),
        (with(&|one| one.name = "Acme/x".to_owned()), ["\"Acme/x\"", "NAMESPACE/NAME"]),
        (with(&|one| one.name = "../x".to_owned()), ["\"../x\"", "NAMESPACE/NAME"]),
        (with(&|one| one.version = "1".to_owned()), ["\"1\"", "MAJOR.MINOR.PATCH"]),
        (
            with(&|one| one.key = vec![here.join("release.pub")]),
            ["release.pub", "is not a private key"],
        ),
        (with(&|one| one.store = here.join("in.wasm/store")), ["in.wasm/store", "cannot be made"]),
        (
            with(&|one| one.pin = Some(here.join("bad.lock.yaml"))),
            ["bad.lock.yaml:", "nothing is signed"],
        ),
        (
            with(&|one| {
                one.pin = Some(here.join("lock.yaml"));
                one.service = "../x".to_owned();
            }),
            ["`../x`", "NAMESPACE/NAME"],
        ),
    ] {
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
    }
    assert!(!here.join("store").exists());
}

#[test]
fn a_version_that_is_signed_again_with_other_bytes_is_refused_unless_it_is_to_be_replaced() {
    let folder = folder();
    let here = folder.path();
    let lock = here.join("filters.lock.yaml");
    let arguments = |replace| Arguments { replace, pin: Some(lock.clone()), ..arguments(here) };
    run(&arguments(false), Output::Json).unwrap();
    // The same bytes may be signed any number of times: the signatures differ, the filter does not.
    run(&arguments(false), Output::Json).unwrap();
    let file = here.join("store/acme-retry-1.2.3.wasm");
    let stored = || (std::fs::read(&file).unwrap(), lock::read(&lock).unwrap().filters);
    let before = stored();

    let other = builtin::all().unwrap().into_iter().find(|one| one.name == "tamis/telemetry");
    std::fs::write(here.join("in.wasm"), other.unwrap().component).unwrap();
    let refused = said(&arguments(false));
    for part in [
        "acme/retry 1.2.3 exists already with other bytes",
        "acme-retry-1.2.3.wasm",
        "--version 1.2.4",
        "--replace",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(stored(), before, "nothing is written and nothing pinned");
    run(&arguments(true), Output::Json).unwrap();
    assert_ne!(stored(), before);
}
