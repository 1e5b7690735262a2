//! No two files of a crate need each other, except a parent and its own children.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Crate, with_filters, workspace};

/// Groups of files that need each other in a circle, a root of a crate aside: everything below may name what the
/// root re-exports. The arrows between a file and those below it do not count.
fn cycles(source: &Crate) -> Vec<Vec<String>> {
    let mut edges = source.edges();
    for (from, to) in &mut edges {
        to.retain(|to| !is_below(from, to) && !is_below(to, from));
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|from| (*from, reach(&edges, from))).collect();
    let mut groups = BTreeSet::new();
    for (file, reached) in &reach {
        let circle =
            reached.iter().filter(|other| reach.get(*other).is_some_and(|r| r.contains(file)));
        let circle: Vec<String> = circle.map(|file| (*file).to_owned()).collect();
        if !circle.is_empty() {
            groups.insert(circle);
        }
    }
    groups.into_iter().collect()
}

fn reach<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![from];
    while let Some(next) = open.pop() {
        for to in edges.get(next).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

/// Whether a file lies below another: `slot/ask.rs` below `slot.rs`, everything below a root.
fn is_below(above: &str, file: &str) -> bool {
    let folder = above.trim_end_matches(".rs").trim_end_matches("/mod");
    matches!(above, "lib.rs" | "main.rs") || file.starts_with(&format!("{folder}/"))
}

#[test]
fn no_two_files_need_each_other_but_a_parent_and_its_children() {
    let mut found = Vec::new();
    for folder in with_filters() {
        let cycles = cycles(&Crate::read(&workspace().join(&folder)));
        found.extend(cycles.iter().map(|circle| format!("{folder}: {}", circle.join(" "))));
    }
    assert!(found.is_empty(), "files that need each other:\n{}", found.join("\n"));
}

/// The cycles of a crate of these files.
fn cycles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let load = |name: &str| {
        files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned())
    };
    cycles(&Crate::parse("lib.rs", &load))
}

#[test]
fn a_cycle_is_found_however_it_is_written() {
    let back: &[(&str, &str)] = &[
        ("an import", "use crate::b::B;"),
        ("a group", "use crate::{b::{B, C}};"),
        ("another name", "use crate::b as other; fn f(b: other::B) {}"),
        ("a path", "fn f() { crate::b::g() }"),
        ("from above", "fn f() { super::b::g() }"),
        ("in a macro", "fn f() { vec![crate::b::B] }"),
        ("through the root", "use crate::B;"),
        ("in a module inside", "mod inside { use super::super::b::B; }"),
    ];
    for (how, text) in back {
        let root = "mod a; mod b; pub use b::B;";
        let found = cycles_of(&[("lib.rs", root), ("a.rs", text), ("b.rs", "use crate::a;")]);
        assert_eq!(found, [["a.rs", "b.rs"]], "{how}");
    }
}

#[test]
fn three_files_in_a_circle_are_one_cycle() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "mod below; use crate::c::C;"),
        ("b/below.rs", ""),
        ("c.rs", "use crate::a::A;"),
        ("d.rs", "use crate::a::A;"),
    ]);
    assert_eq!(found, [["a.rs", "b.rs", "c.rs"]]);
}

#[test]
fn what_is_no_cycle_is_let_through() {
    let one: &[(&str, &str)] = &[
        ("a comment", "// crate::b::B\n/// [`crate::b`]\nfn f() {}"),
        ("a string", "const B: &str = \"crate::b::B\";"),
        ("tests", "#[cfg(test)] mod tests { use crate::b::B; }"),
        ("an import of tests", "#[cfg(test)] use crate::b::{B}; fn f() {}"),
        ("another crate", "use b::B;"),
    ];
    for (how, text) in one {
        let found =
            cycles_of(&[("lib.rs", "mod a; mod b;"), ("a.rs", text), ("b.rs", "use crate::a;")]);
        assert!(found.is_empty(), "{how}: {found:?}");
    }
    let family = cycles_of(&[
        ("lib.rs", "mod a;"),
        ("a.rs", "mod child; use child::Child;"),
        ("a/child.rs", "use super::A; use crate::a::A as Other;"),
    ]);
    assert!(family.is_empty(), "{family:?}");
}
