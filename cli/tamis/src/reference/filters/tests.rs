//! The pages of the built-in filters are complete, and what they show works.

use super::*;
use crate::filter::{configured_under, grants};

fn sources() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters")
}

#[test]
fn every_built_in_filter_has_a_page_with_settings_reasons_authority_and_a_grant() {
    let pages = pages(&sources()).unwrap();
    let builtins = builtin::all().unwrap();
    assert_eq!(pages.len(), builtins.len() + 1);
    for (name, text) in pages.iter().filter(|(name, _)| !name.ends_with("README.md")) {
        for part in [
            "## Settings",
            "## Reasons",
            "## What it reads and writes",
            "## A Grant to copy",
            "kind: Grant",
        ] {
            assert!(text.contains(part), "{name} has no {part}");
        }
    }
    let (_, jwt) = pages.iter().find(|(name, _)| name == "filters/jwt.md").unwrap();
    for row in [
        "| `issuers[].clockSkew` | string | `\"60s\"` |",
        "| `issuers[].issuer` | string | needed |",
        "| `issuers[].claimsToHeaders[].claim` | string | needed |",
        "| imports | `clock`, `crypto`, `http-client`, `kv`, `log` |",
    ] {
        assert!(jwt.contains(row), "{row}\n{jwt}");
    }
}

#[test]
fn every_grant_to_copy_lets_its_filter_start_with_the_configuration_of_its_page() {
    for builtin in builtin::all().unwrap() {
        let folder = sources().join(builtin.name.trim_start_matches("tamis/"));
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let grant = grants::read(&folder.join("grant.yaml"), Some(&builtin.name)).unwrap();
        let configured = configured_under(builtin.component, example(&readme).unwrap(), grant);
        assert!(configured.is_ok(), "{}: {}", builtin.name, configured.err().unwrap());
    }
}

/// Every reason in a filter's source is in its README, so that a reader of a record can look it up.
#[test]
fn every_reason_of_a_built_in_filter_is_on_its_page() {
    for builtin in builtin::all().unwrap() {
        let short = builtin.name.trim_start_matches("tamis/");
        let folder = sources().join(short);
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let reasons = reasons(&folder.join("src"), &format!("\"{short}."));
        for reason in &reasons {
            assert!(readme.contains(&format!("`{reason}`")), "{short}/README.md lacks {reason}");
        }
        assert!(
            !reasons.is_empty() || !["jwt", "retry"].contains(&short),
            "{short}: no reasons found"
        );
    }
}

fn reasons(folder: &Path, begin: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(reasons(&path, begin));
            continue;
        }
        if path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for part in shipped.split(begin).skip(1) {
            let rest = part.split('"').next().unwrap_or_default();
            found.push(format!("{}{rest}", begin.trim_start_matches('"')));
        }
    }
    found
}
