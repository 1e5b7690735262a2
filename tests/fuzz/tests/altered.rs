//! Every target over its corpus and over altered entries of it: a few thousand in a plain test run, for
//! `TAMIS_FUZZ_SECONDS` each where that is set (as `cargo xtask fuzz` does), with another seed each time.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: what is wrong fails it, and what it did is shown"
)]

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::time::Duration;

use tamis_fuzz::{Budget, Search};

/// How long each target is to be searched, when not by a number of inputs.
const SECONDS: &str = "TAMIS_FUZZ_SECONDS";
/// The seed of a search that is to be repeated.
const SEED: &str = "TAMIS_FUZZ_SEED";

/// An entry of the corpus is what a parser has been asked at least once: three is hardly any.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{} holds hardly anything", folder.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn holds(name: &str, target: fn(&[u8]), inputs: u64) {
    let seconds = number(SECONDS);
    let seed = number(SEED).unwrap_or_else(|| match seconds {
        Some(_) => RandomState::new().hash_one(name),
        None => 1,
    });
    let budget = seconds.map(Duration::from_secs).map_or(Budget::Inputs(inputs), Budget::Time);
    let ran = Search::new(corpus(name), seed).run(target, budget).unwrap_or_else(|broken| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("broken-{name}"));
        std::fs::write(&file, &broken.input).unwrap();
        let corpus = format!("put {} into tests/fuzz/corpus/{name}", file.display());
        panic!("{name} (seed {seed}): {broken}\n{corpus}")
    });
    assert!(ran > 0, "{name} ran nothing");
    println!("{name}: {ran} executions, seed {seed}, nothing found");
}

#[test]
fn apply_takes_a_body_or_refuses_it_with_its_place() {
    holds("apply", tamis_fuzz::apply, 300);
}

#[test]
fn bundle_of_nobody_is_never_accepted() {
    holds("bundle", tamis_fuzz::bundle, 1_000);
}

#[test]
fn edits_leave_a_head_within_its_bounds() {
    holds("edits", tamis_fuzz::edits, 300);
}

#[test]
fn hooks_of_a_hostile_component_harm_nobody() {
    holds("hooks", tamis_fuzz::hooks, 300);
}

#[test]
fn http1_requests_read_the_same_to_another_server_or_are_refused() {
    holds("http1", tamis_fuzz::http1, 2_000);
}

#[test]
fn resources_are_read_or_refused_with_their_place() {
    holds("resources", tamis_fuzz::resources, 300);
}

#[test]
fn target_of_a_request_has_one_form() {
    holds("target", tamis_fuzz::target, 3_000);
}

#[test]
fn upgrade_begins_where_both_sides_agreed_and_nowhere_else() {
    holds("upgrade", tamis_fuzz::upgrade, 1_000);
}
