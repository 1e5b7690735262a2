//! Files that a person names to a command: what is no file is refused at once, and named.

use std::os::unix::net::UnixListener;
use std::process::Command;
use tamis_e2e::tamis;
use tempfile::TempDir;

use crate::control::said;

/// In the place of the named file.
const FILE: &str = "FILE";

/// Commands that read a named file before anything else can be wrong.
const COMMANDS: &[&[&str]] = &[
    &["authz", "learn", "--to", "shop/a", FILE],
    &["authz", "test", ".", "--cases", FILE],
    &["audit", "verify", "proof.json", "--log-key", FILE],
    &["filter", "diff", FILE, "b.wasm"],
    &["filter", "diff", "a.wasm", "b.wasm", "--config", FILE],
    &["filter", "inspect", FILE],
    &["filter", "sign", FILE, "--name", "acme/a", "--version", "1.0.0", "--key", "a.key"],
    &["filter", "test", "new", "--component", FILE],
    &["filter", "test", "new", "--cases", FILE],
    &["keys", "replace", "a", "--with", FILE, "--reason", "r"],
    &["pins", "--registry", "http://127.0.0.1:1", "--token-file", FILE],
    &["policy", "set", "acme", FILE],
    &["registry", "--blobs", "s3://bucket", "--blobs-options", FILE],
    &["registry", "--data", "d", "--certificate", FILE, "--key", "a.key"],
    &["rollout", "start", "--file", FILE],
];

#[test]
fn what_is_no_file_is_refused_by_every_command_that_is_given_one() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = tamis(folder.path(), &["filter", "new", "new"]);
    assert!(made.status.success(), "{}", said(&made));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    std::fs::create_dir(at("folder")).unwrap();
    for (name, what) in
        [("pipe", "a pipe"), ("socket", "a socket"), ("folder", "a folder"), ("zero", "a device")]
    {
        let file = if name == "zero" { "/dev/zero".into() } else { at(name) };
        // The same as the description of a filter.
        let filter = at(&format!("filter-{name}"));
        std::fs::create_dir(&filter).unwrap();
        std::os::unix::fs::symlink(&file, filter.join("filter.yaml")).unwrap();
        let build = ["filter", "build", filter.to_str().unwrap()];
        let given = |arguments: &[&str]| -> Vec<String> {
            arguments.iter().map(|one| one.replace(FILE, file.to_str().unwrap())).collect()
        };
        for arguments in COMMANDS.iter().copied().chain([&build[..]]) {
            let arguments = given(arguments);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let done = tamis(folder.path(), &arguments);
            let told = said(&done);
            assert!(!done.status.success(), "{arguments:?}: {told}");
            assert!(told.contains(&format!("it is {what}, not a file")), "{arguments:?}: {told}");
        }
    }
}
