//! Files are read as files: a path that somebody configures may name a pipe, a device or a file without end.
//!
//! `tamis_private::read_regular` and `open_regular` refuse those, and read no more than a bound. This test fails when a crate that
//! ships reads a file in another way, outside of the list below.

use crate::source::{Crate, shipped, workspace};

/// What reads a file whatever it is and however long.
const READERS: [(&str, &str); 5] = [
    ("fs", "read"),
    ("fs", "read_to_string"),
    ("File", "open"),
    ("CertificateDer", "pem_file_iter"),
    ("PrivateKeyDer", "from_pem_file"),
];

/// Files that may all the same, and why.
const ALLOWED: [(&str, &str); 4] = [
    ("common/private/src/file.rs: File::open", "a folder, to make a name in it durable"),
    ("common/private/src/owner.rs: fs::read_to_string", "/proc/self/status"),
    ("host/observe/src/process.rs: fs::read_to_string", "below /proc"),
    ("registry/journal/src/blobs/files.rs: File::open", "a folder, to make a name in it durable"),
];

/// The files that read in another way, and how.
fn readers(source: &Crate) -> Vec<String> {
    let reads = source.modules.values().flat_map(|module| {
        let calls = READERS.iter().filter(|(of, function)| module.calls(of, function));
        calls.map(|(of, function)| format!("{}: {of}::{function}", module.file))
    });
    reads.collect()
}

#[test]
fn a_named_file_is_read_as_a_file_with_a_bound_everywhere() {
    let mut found = Vec::new();
    for folder in shipped() {
        let readers = readers(&Crate::read(&workspace().join(&folder)));
        found.extend(readers.iter().map(|file| format!("{folder}/src/{file}")));
    }
    let unknown: Vec<_> =
        found.iter().filter(|file| ALLOWED.iter().all(|(known, _)| known != file)).collect();
    assert!(unknown.is_empty(), "use tamis_private::read_regular or open_regular: {unknown:#?}");
    let gone: Vec<_> =
        ALLOWED.iter().filter(|(known, _)| found.iter().all(|file| file != known)).collect();
    assert!(gone.is_empty(), "take out of the list: {gone:?}");
}

#[test]
fn a_read_is_found_however_it_is_written() {
    let found =
        |text: &str| !readers(&Crate::parse("lib.rs", &|_| Some(text.to_owned()))).is_empty();
    for text in [
        "use std::fs; fn f() { fs::read(p) }",
        "fn f() { std::fs::read_to_string(p) }",
        "use std::fs::File; fn f() { File::open(p) }",
        "use std::fs::File; fn f() { p.map(File::open) }",
        "fn f() { rustls_pki_types::PrivateKeyDer::from_pem_file(p) }",
    ] {
        assert!(found(text), "{text}");
    }
    for text in [
        "use std::fs; #[cfg(test)] mod tests { fn f() { fs::read(p) } }",
        "fn f() { tamis_private::read_regular(p, 1) }",
        "fn f() { LogFile::open(p) }",
        "// fs::read(p)",
    ] {
        assert!(!found(text), "{text}");
    }
}
