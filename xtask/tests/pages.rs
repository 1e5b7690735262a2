//! Pages agree with the code: names, versions, links and the tests they point to.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where a page is not what it should be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files below a folder of the root with this ending; nothing that is built.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.join("CACHEDIR.TAG").exists() && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// First cells of the tables of a part of a page, without what marks them.
fn cells(part: &str) -> Vec<&str> {
    let rows = part.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|line| line.split('|').nth(1)).map(str::trim);
    cells
        .filter(|cell| cell.starts_with(['`', '*']))
        .map(|cell| cell.trim_matches(['`', '*']))
        .collect()
}

#[test]
fn the_attributes_of_the_page_are_those_that_the_host_sets() {
    let text = page("docs/reference/attributes.md");
    let (facts, _) = text.split_once("## What filters set").unwrap();
    let told: BTreeSet<String> = cells(facts).into_iter().map(str::to_owned).collect();
    let sources = files(&root().join("host/proxy/src"), ".rs");
    let sources = sources.iter().filter(|path| !path.display().to_string().contains("/tests"));
    let shipped: String = sources
        .map(|path| fs::read_to_string(path).unwrap())
        .map(|text| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned())
        .collect();
    // The name is written at the call, or is a constant.
    let value = |of: &str| {
        let (_, text) = shipped.split_once(&format!("const {of}: &str = \"")).unwrap();
        text.split('"').next().unwrap_or_default().to_owned()
    };
    let mut set = BTreeSet::new();
    for part in shipped.split("attributes.set(").skip(1) {
        let name = part.split(',').next().unwrap_or_default();
        let is_constant = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        match name.split('"').nth(1) {
            Some(literal) => drop(set.insert(literal.to_owned())),
            None if is_constant => drop(set.insert(value(name))),
            // What filters set.
            None => {}
        }
    }
    assert!(set.len() > 5, "the places that set attributes were not found: {set:?}");
    assert_eq!(told, set);
    // Names that no filter may set.
    let edits = fs::read_to_string(root().join("host/exchange/src/edit.rs")).unwrap();
    let (_, owned) = edits.split_once("const OWNED").unwrap();
    let owned = owned.split(';').nth(1).unwrap_or_default().split('"').skip(1).step_by(2);
    let owned: Vec<&str> = owned.collect();
    assert!(owned.len() > 4, "{owned:?}");
    for prefix in owned {
        assert!(facts.contains(&format!("`{prefix}`")), "the page lacks {prefix}");
    }
    // Values that are words of the host.
    let tls = fs::read_to_string(root().join("common/transport/src/tls.rs")).unwrap();
    let proxy = fs::read_to_string(root().join("host/proxy/src/connection.rs")).unwrap();
    for (source, word) in [(&tls, "TLSv1.2"), (&tls, "TLSv1.3"), (&proxy, "unix")] {
        assert!(source.contains(&format!("\"{word}\"")), "the host has no {word}");
        assert!(facts.contains(&format!("`{word}`")), "the page has no {word}");
    }
}

#[test]
fn the_tools_of_other_languages_are_those_that_build_the_guests() {
    let page = page("docs/how-to/other-languages.md");
    let sources = fs::read_to_string(root().join("xtask/src/guests/tools.rs")).unwrap();
    let value = |name: &str| {
        let (_, rest) = sources.split_once(&format!("const {name}: &str = \"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    assert!(page.contains(&value("COMPONENTIZE_PY")), "{}", value("COMPONENTIZE_PY"));
    assert!(page.contains(&value("ZIG")), "{}", value("ZIG"));
    assert!(page.contains(&format!("`wit-bindgen` {}", value("WIT_BINDGEN"))));
    let package = fs::read_to_string(root().join("tests/guests/javascript/package.json")).unwrap();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap();
    let tool = "@bytecodealliance/componentize-js";
    let version = package["devDependencies"][tool].as_str().unwrap();
    assert!(page.contains(&format!("{tool}@{version}")), "{version}");
    let build = fs::read_to_string(root().join("xtask/src/guests/build.rs")).unwrap();
    for flag in [
        "\"-buildmode=c-shared\"",
        "\"-mexec-model=reactor\"",
        "-checklinkname=0",
        "stack-size=131072",
    ] {
        assert!(build.contains(flag), "the guests are built without {flag}");
        assert!(page.contains(flag.trim_matches('"')), "the page lacks {flag}");
    }
    let part = "\"--disable\", \"random\", \"clocks\", \"http\", \"fetch-event\"";
    assert!(build.contains(part));
    assert!(page.contains(&part.replace(['"', ','], "")));
}

#[test]
fn the_glossary_has_each_word_once_and_in_order() {
    let text = page("docs/glossary.md");
    let mut seen = BTreeSet::new();
    for part in text.split("\n## ").skip(1).filter(|part| !part.starts_with("Words of the field")) {
        let words = cells(part);
        let mut sorted = words.clone();
        sorted.sort_unstable_by_key(|word| word.to_lowercase());
        assert_eq!(words, sorted, "in order of the alphabet");
        for word in words {
            assert!(seen.insert(word.to_owned()), "{word} is there twice");
        }
    }
    let (_, field) = text.split_once("\n## Words of the field").unwrap();
    for line in field.lines().filter(|line| line.contains("**")) {
        for word in line.split("**").skip(1).step_by(2) {
            let known = seen.contains(word) || seen.contains(word.trim_end_matches('s'));
            assert!(known, "the glossary leads to {word}, which it does not have");
        }
    }
}

/// The anchor that a heading has.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text: String = heading.trim().to_lowercase().chars().filter(kept).collect();
    text.replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if !fenced && line.starts_with('#') {
            let name = anchor(line.trim_start_matches('#'));
            *found.entry(name).or_insert(0) += 1;
        }
    }
    found.into_keys().collect()
}

#[test]
fn links_lead_to_pages_and_to_headings_that_are_there() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.extend([root().join("README.md"), root().join("examples/shop/README.md")]);
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split(')').next().unwrap_or_default();
            if link.starts_with("http") || link.contains(' ') {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{} leads to {link}", path.display());
            if !heading.is_empty() && target.extension().is_some_and(|ending| ending == "md") {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(heading), "{} leads to {link}", path.display());
            }
        }
    }
}

#[test]
fn every_test_that_the_page_on_security_names_exists() {
    let text = page("docs/explanation/security.md");
    let named: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3 && !word.contains(['/', ' ', '.']))
        .collect();
    assert!(named.len() >= 20, "the page names {} tests", named.len());
    let sources: Vec<String> = files(&root(), ".rs")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap_or_default())
        .collect();
    for name in named {
        let test = format!("fn {name}(");
        assert!(sources.iter().any(|text| text.contains(&test)), "there is no test {name}");
    }
}

#[test]
fn every_room_that_the_walks_name_is_a_file_or_a_crate() {
    let text = page("docs/explanation/rooms.md");
    let is_path = |word: &&str| {
        let part = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_';
        !word.ends_with('/') && word.chars().all(|one| part(one) || one == '/')
    };
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_path).collect();
    assert!(named.len() >= 150, "the page names {} rooms", named.len());
    let root = root();
    let rooms: Vec<String> = files(&root, ".rs")
        .iter()
        .map(|path| path.strip_prefix(&root).unwrap().with_extension(""))
        .map(|path| format!("/{}", path.display().to_string().replace("/src/", "/")))
        .collect();
    let there = |word: &&&str| {
        root.join(word).is_dir() || rooms.iter().any(|room| room.ends_with(&format!("/{word}")))
    };
    let missing: Vec<_> = named.iter().filter(|word| !there(word)).collect();
    assert!(missing.is_empty(), "the page names what is not there: {missing:?}");
}
