//! Every command line in pages, messages and scaffolds is valid: its command and its flags exist.

use crate::Tamis;
use clap::{Command, CommandFactory as _};
use std::path::{Path, PathBuf};

/// Files of a folder with one of these endings, without build results and tests.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let built = path.join("CACHEDIR.TAG").exists();
        if path.is_dir() && !built && name != "tests" && !name.starts_with('.') {
            found.extend(files(&path, endings));
        } else if endings.iter().any(|ending| name.ends_with(ending)) && !name.contains("tests.rs")
        {
            found.push(path);
        }
    }
    found
}

/// What is wrong with a command line that begins with `tamis`; `None` when it is valid.
fn wrong(tamis: &Command, line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip(1).peekable();
    let mut command = tamis;
    while let Some(next) = words.peek().and_then(|word| command.find_subcommand(word)) {
        command = next;
        words.next();
    }
    let word = words.peek().copied().unwrap_or_default();
    let plain = word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if command.has_subcommands() && plain && command.get_positionals().next().is_none() {
        return Some(format!("`{}` has no command `{word}`", command.get_name()));
    }
    let known = |flag: &str| {
        let own = command.get_arguments().chain(tamis.get_arguments());
        own.filter_map(clap::Arg::get_long).any(|long| long == flag)
            || ["help", "version"].contains(&flag)
    };
    let flags = words.filter_map(|word| word.strip_prefix("--")).filter(|flag| !flag.is_empty());
    for flag in flags {
        let flag: &str =
            flag.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next().unwrap_or_default();
        if !known(flag) {
            return Some(format!("`{}` has no --{flag}", command.get_name()));
        }
    }
    None
}

/// Commands in blocks of `sh`, one per line; continued lines are joined.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("```sh") {
            continue;
        }
        let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        found.extend(body.join("\n").replace("\\\n", " ").lines().map(str::to_owned));
    }
    found
}

/// The `tamis` commands in a line of a shell.
fn runs(line: &str) -> Vec<&str> {
    let ends = |c: char| matches!(c, '|' | ';' | '&' | '>' | ')' | '#');
    let parts = line.split(ends).map(|part| part.trim_start_matches(['$', '(', '"', ' ']));
    // Variables for one command stand before it: `NAME=value tamis …`.
    let parts = parts.map(|part| match part.split_once(' ') {
        Some((set, rest)) if set.contains('=') => rest,
        _ => part,
    });
    parts.filter(|part| part.starts_with("tamis ")).collect()
}

#[test]
fn every_command_that_a_page_shows_is_one() {
    let mut tamis = Tamis::command();
    tamis.build();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs", "examples", "filters", "cli/tamis/src/filter/new"] {
        pages.extend(files(&root.join(folder), &[".md", ".md.in", ".yaml.in"]));
    }
    let mut read = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let shell: Vec<String> = blocks(&text);
        let shell = shell.iter().flat_map(|line| runs(line));
        let prose =
            text.split('`').filter(|part| part.starts_with("tamis ") && !part.contains('\n'));
        for line in shell.chain(prose) {
            read += 1;
            let wrong = wrong(&tamis, line);
            assert!(wrong.is_none(), "{}: {line}: {}", page.display(), wrong.unwrap_or_default());
        }
    }
    assert!(read > 80, "the pages show {read} commands");
}

#[test]
fn every_command_that_a_message_tells_to_type_is_one() {
    let mut tamis = Tamis::command();
    tamis.build();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut read = 0;
    for folder in ["cli", "host", "registry", "common", "sdk/testkit"] {
        for source in files(&root.join(folder), &[".rs"]) {
            let text = std::fs::read_to_string(&source).unwrap();
            let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
            // The text quoted in a message, whichever line of the source it is on.
            for line in shipped.split('`').filter(|part| part.starts_with("tamis ")) {
                let line = line.replace("\\\n", " ");
                if line.contains('\n') || line.contains('{') {
                    continue;
                }
                read += 1;
                let wrong = wrong(&tamis, &line);
                assert!(
                    wrong.is_none(),
                    "{}: {line}: {}",
                    source.display(),
                    wrong.unwrap_or_default()
                );
            }
        }
    }
    assert!(read > 20, "the sources name {read} commands");
}

#[test]
fn a_command_that_is_none_is_found() {
    let mut tamis = Tamis::command();
    tamis.build();
    for (line, says) in [
        ("tamis filter tset x", "has no command `tset`"),
        ("tamis filter sign a.wasm --nmae x", "has no --nmae"),
        ("tamis status --problem", "has no --problem"),
    ] {
        assert!(wrong(&tamis, line).is_some_and(|wrong| wrong.contains(says)), "{line}");
    }
    for line in [
        "tamis filter test FOLDER",
        "tamis status --output json",
        "tamis check my-shop",
        "tamis --version",
    ] {
        assert_eq!(wrong(&tamis, line), None, "{line}");
    }
}
