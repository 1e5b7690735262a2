//! A journal that was modified by hand is not served.

use std::fs;

use tamis_e2e::tamis;
use tempfile::TempDir;

use super::{Registry, token};

#[test]
fn g11_a_row_of_the_journal_that_was_altered_is_named_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let secret = token(folder.path(), &[], "ci", "*", &["pull", "push"]);
    let registry = Registry::start(folder.path(), &[]);
    // The token is the first entry, the keys are the second, then come the two blobs, and the manifest with its tag is the fifth.
    assert!(registry.caller(&secret).push("acme/filter", "tag-before", b"layer"));
    assert!(registry.caller(&secret).push("acme/filter", "another", b"layer"));
    registry.stop();

    let journal = folder.path().join("data/journal.sqlite");
    let mut bytes = fs::read(&journal).unwrap();
    let place = bytes.windows(10).position(|part| part == b"tag-before").unwrap();
    bytes[place..place + 10].copy_from_slice(b"tag-behind");
    fs::write(&journal, bytes).unwrap();

    let started = tamis(folder.path(), &["registry", "--data", "data", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success(), "{said}");
    assert!(said.contains("revision 5 of the journal"), "{said}");
    assert_eq!(started.stdout, b"", "it says that it serves");
}
