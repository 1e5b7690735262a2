//! One name for one thing: no two crates define a public type of the same name.

use std::collections::BTreeMap;

use crate::source::{Crate, with_filters, workspace};

/// The names that more than one of these crates defines, with the crates.
fn shared(crates: &[(String, Crate)]) -> Vec<(String, Vec<String>)> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (folder, source) in crates {
        for name in source.modules.values().flat_map(|module| &module.types) {
            let places = places.entry(name).or_default();
            if places.last() != Some(folder) {
                places.push(folder.clone());
            }
        }
    }
    let shared = places.into_iter().filter(|(_, places)| places.len() > 1);
    shared.map(|(name, places)| (name.to_owned(), places)).collect()
}

#[test]
fn no_two_crates_define_a_public_type_of_the_same_name() {
    let read = |folder: String| {
        let source = Crate::read(&workspace().join(&folder));
        (folder, source)
    };
    // The SDK speaks to authors of filters in the words that the contract generates: `Request`, `View`, `Filter`.
    let crates: Vec<_> =
        with_filters().into_iter().filter(|folder| folder != "sdk/rust").map(read).collect();
    let found = shared(&crates);
    let lines: Vec<_> =
        found.iter().map(|(name, places)| format!("{name}: {}", places.join(" "))).collect();
    assert!(lines.is_empty(), "{} names in two crates:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn a_name_in_two_crates_is_found_and_one_that_nobody_else_sees_is_not() {
    let source = |folder: &str, text: &str| {
        let load = |_: &str| Some(text.to_owned());
        (folder.to_owned(), Crate::parse("lib.rs", &load))
    };
    let crates = [
        source(
            "one",
            "pub struct Both; pub mod inside { pub enum Inner {} } pub(crate) struct Own;",
        ),
        source("two", "pub type Both = u8; pub trait Inner {} pub struct Own; fn f() {}"),
        source("three", "struct Both; #[cfg(test)] pub struct Inner; pub use other::Own;"),
        source(
            "four",
            "items! { pub struct Listed { pub a: u8 } } fn f() { m! { pub struct Deep; } }",
        ),
        source(
            "five",
            "macro_rules! m { ($($i:item)*) => { pub enum Written { $($i)* } }; } pub struct Listed; pub struct Deep;",
        ),
        source("six", "pub struct Written;"),
    ];
    let both = ["one".to_owned(), "two".to_owned()].to_vec();
    let expected = [
        ("Both".to_owned(), both.clone()),
        ("Inner".to_owned(), both),
        ("Listed".to_owned(), ["four".to_owned(), "five".to_owned()].to_vec()),
        ("Written".to_owned(), ["five".to_owned(), "six".to_owned()].to_vec()),
    ];
    assert_eq!(shared(&crates), expected);
}
