//! Calls in a filter's source whose output reaches nobody.
//!
//! The target of filters in Rust has no standard output: what `println!` and its likes write is dropped without a word. Text
//! is searched and not code: a call that a macro makes is not found, and one in a string is.

use crate::named_file;
use crate::output;
use std::path::Path;

/// The macros of Rust's library that write to standard output or error.
const MACROS: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];
/// Depth to which folders of sources are searched.
const MAX_DEPTH: usize = 8;

/// Notes each call in the sources of a filter.
pub(super) fn note(folder: &Path) {
    for line in found(folder) {
        output::note(&line);
    }
}

/// A sentence for each call, in the order of files and lines.
fn found(folder: &Path) -> Vec<String> {
    let mut calls = Vec::new();
    search(&folder.join("src"), 0, &mut calls);
    calls
}

fn search(folder: &Path, depth: usize, calls: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Programs and tests run on this machine, which has an output.
        if path.is_dir() && depth < MAX_DEPTH && name != "bin" && name != "tests" {
            search(&path, depth.saturating_add(1), calls);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "main.rs" {
            // The compiler reports files that cannot be read.
            let text = named_file::text(&path).unwrap_or_default();
            calls.extend(calls_in(&text).map(|(line, called)| {
                format!(
                    "{}:{line}: `{called}!` writes nowhere: a filter has no standard output; write `tamis_sdk::log::write(tamis_sdk::log::Level::Info, &format!(…))`, and add `log: {{}}` under `imports` of its Grant",
                    path.display()
                )
            }));
        }
    }
}

/// The lines with a call, and what is called. Tests at the end of a file are left out.
fn calls_in(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    code.enumerate().filter_map(|(at, line)| {
        let line = line.trim_start();
        let called = MACROS.into_iter().find(|name| calls(line, name));
        called.filter(|_| !line.starts_with("//")).map(|called| (at.saturating_add(1), called))
    })
}

/// Whether a line calls that macro, and not another whose name ends alike.
fn calls(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (line.get(..at), line.get(at.saturating_add(name.len())..));
        let part_of_name = |before: &str| {
            before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
        };
        before.is_some_and(|before| !part_of_name(before))
            && after.is_some_and(|after| after.starts_with("!(") || after.starts_with("! ("))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_found_once_and_nothing_else_is() {
        for (line, called) in [
            ("println!(\"a\");", Some("println")),
            ("    eprintln!(\"{x}\");", Some("eprintln")),
            ("if x { print!(\".\") }", Some("print")),
            ("let x = dbg!(y);", Some("dbg")),
            ("std::eprint!(\"a\")", Some("eprint")),
            ("// println!(\"a\")", None),
            ("/// `println!(…)` goes nowhere", None),
            ("log_println!(\"a\")", None),
            ("let println = 1;", None),
            ("println(1)", None),
            ("fn dbg() {}", None),
        ] {
            assert_eq!(calls_in(line).map(|(_, called)| called).next(), called, "{line}");
        }
        let text = "fn a() {}\ndbg!(1);\n#[cfg(test)]\nmod tests { fn b() { println!(); } }\n";
        assert_eq!(calls_in(text).collect::<Vec<_>>(), [(2, "dbg")]);
    }

    #[test]
    fn sources_in_folders_are_searched_and_programs_are_not() {
        let folder = tempfile::TempDir::new().unwrap();
        for path in ["lib.rs", "rules/deep.rs", "bin/tool.rs", "rules/tests.rs", "notes.txt"] {
            let path = folder.path().join("src").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "\nprintln!(\"a\");\n").unwrap();
        }
        let found = found(folder.path());
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("lib.rs:2: `println!`"), "{found:#?}");
        assert!(found[1].contains("deep.rs:2: "), "{found:#?}");
    }
}
