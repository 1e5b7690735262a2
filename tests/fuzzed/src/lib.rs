//! Arbitrary input, and the properties that must hold for all of it: the bodies of the fuzz targets in
//! `tests/fuzz`.
//!
//! Every test run applies them to the committed corpus, to altered entries of it and to random bytes;
//! `cargo xtask fuzz` lets libFuzzer search for more.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a fuzz target says that something does not hold"
)]

mod apply;
mod bundle;
mod edits;
mod hooks;
mod resources;
mod target;
mod upgrade;

pub use apply::apply;
pub use bundle::bundle;
pub use edits::edits;
pub use hooks::hooks;
pub use resources::resources;
pub use target::target;
pub use upgrade::upgrade;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use std::path::Path;

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(files.len() >= 3, "{} holds hardly anything", folder.display());
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    }

    /// Every entry, then entries with some bytes changed, cut off or repeated, then anything.
    fn holds(name: &str, cases: u32, body: fn(&[u8])) {
        let entries = corpus(name);
        for entry in &entries {
            body(entry);
        }
        let altered = (
            prop::sample::select(entries),
            prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            any::<prop::sample::Index>(),
        );
        let altered = altered.prop_map(|(mut bytes, changes, cut)| {
            for (at, to) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = to;
                }
            }
            let keep = cut.index(bytes.len() * 4 + 1);
            bytes.truncate(keep.max(1));
            bytes
        });
        let anything = prop::collection::vec(any::<u8>(), 0..200);
        let mut runner = TestRunner::new(Config::with_cases(cases));
        runner
            .run(&prop_oneof![4 => altered, 1 => anything], |bytes| {
                body(&bytes);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn resource_documents() {
        holds("resources", 300, super::resources);
    }

    #[test]
    fn bodies_of_an_apply() {
        holds("apply", 300, super::apply);
    }

    #[test]
    fn bundles_manifests_and_policies() {
        holds("bundle", 300, super::bundle);
    }

    #[test]
    fn edits_of_heads() {
        holds("edits", 300, super::edits);
    }

    #[test]
    fn values_of_hostile_components() {
        holds("hooks", 300, super::hooks);
    }

    #[test]
    fn authorities_and_paths() {
        holds("target", 3000, super::target);
    }

    #[test]
    fn changes_of_the_protocol() {
        holds("upgrade", 1000, super::upgrade);
    }
}
