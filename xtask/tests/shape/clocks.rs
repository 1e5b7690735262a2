//! Time and randomness are values that somebody passes: only `common/ambient` reads the machine's.
//!
//! `clippy.toml` forbids the clocks too, in tests as well. This test stays, for what clippy cannot say: it reads the random
//! source as well, and it fails when a crate that ships gets an exception that is not listed here.

use crate::source::{Crate, shipped, workspace};

/// What reads the machine's clocks or its random source.
const AMBIENT: [(&str, &str); 8] = [
    ("Instant", "now"),
    ("SystemTime", "now"),
    ("OffsetDateTime", "now_utc"),
    ("OffsetDateTime", "now_local"),
    ("Utc", "now"),
    ("time", "clock_gettime"),
    ("RandomState", "new"),
    ("rand", "fill"),
];

/// Files that may all the same. The processor time of a thread is what a filter may use, and no clock of a test stands for it.
/// The name of a file that is renamed at once decides nothing.
const ALLOWED: [&str; 2] = [
    "host/engine/src/deadline.rs: time::clock_gettime",
    "common/private/src/file.rs: RandomState::new",
];

/// The files that read the machine's clocks or random source, and how.
fn readers(source: &Crate) -> Vec<String> {
    let reads = source.modules.values().flat_map(|module| {
        let calls = AMBIENT.iter().filter(|(of, function)| module.calls(of, function));
        calls.map(|(of, function)| format!("{}: {of}::{function}", module.file))
    });
    reads.collect()
}

#[test]
fn no_crate_but_ambient_reads_a_clock_or_the_random_source_of_the_machine() {
    let mut found = Vec::new();
    for folder in shipped().iter().filter(|folder| *folder != "common/ambient") {
        let readers = readers(&Crate::read(&workspace().join(folder)));
        found.extend(readers.iter().map(|file| format!("{folder}/src/{file}")));
    }
    let allowed = |file: &String| ALLOWED.contains(&file.as_str());
    assert!(found.iter().filter(|file| allowed(file)).count() == ALLOWED.len(), "{found:?}");
    found.retain(|file| !allowed(file));
    assert!(found.is_empty(), "take a Clock or a Random of tamis_ambient:\n{}", found.join("\n"));
    assert!(!readers(&Crate::read(&workspace().join("common/ambient"))).is_empty());
}

#[test]
fn a_read_is_found_however_it_is_written_and_a_timer_is_none() {
    let found =
        |text: &str| !readers(&Crate::parse("lib.rs", &|_| Some(text.to_owned()))).is_empty();
    for text in [
        "use std::time::Instant; fn f() { Instant::now() }",
        "use std::time::{Duration, SystemTime}; fn f() { SystemTime::now() }",
        "fn f() { std::time::Instant::now() }",
        "use std::time::Instant; fn f() { x.then(Instant::now) }",
        "use aws_lc_rs::rand; fn f() { rand::fill(o) }",
        "use time::OffsetDateTime; fn f() { OffsetDateTime::now_utc() }",
        "use rustix::time::{ClockId, clock_gettime}; fn f() { clock_gettime(ClockId::Realtime) }",
    ] {
        assert!(found(text), "{text}");
    }
    for text in [
        "use tokio::time::Instant; fn f() { Instant::now() }",
        "fn f() { tokio::time::Instant::now() }",
        "use std::time::Instant; #[cfg(test)] mod tests { fn f() { Instant::now() } }",
        "// Instant::now()",
    ] {
        assert!(!found(text), "{text}");
    }
}
