use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Texts in the form of a code that are not codes: attributes of exchanges, files, capabilities, names in
/// examples.
const OTHERS: &[&str] = &[
    "listener.name",
    "peer.spiffe-id",
    "request.attributes",
    "request.body",
    "response.attributes",
    "response.body",
    "route.name",
];

fn families() -> BTreeSet<&'static str> {
    CODES.iter().filter_map(|one| one.code.split_once('.')).map(|(family, _)| family).collect()
}

/// The sources of everything that runs, by file; without tests.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for wing in ["common", "host", "registry", "cli", "sdk/testkit"] {
        walk(&root.join(wing), &mut files);
    }
    assert!(files.len() > 200, "{}", files.len());
    files
}

fn walk(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            let skipped = ["tests", "benches", "examples", "target", "explain", "fixture"];
            if !skipped.contains(&name.as_str()) {
                walk(&path, files);
            }
        } else if name.ends_with(".rs")
            && !["tests.rs", "testing.rs", "fixture.rs"].contains(&name.as_str())
        {
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests stand last in a file.
            let text =
                text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            files.push((path, text));
        }
    }
}

/// The texts between quotes that have the form of a code.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(|one| {
        let part = |part: &str| {
            let is = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            !part.is_empty() && part.bytes().all(is)
        };
        one.split_once('.').is_some_and(|(family, rest)| part(family) && part(rest))
    })
}

#[test]
fn every_code_that_is_used_stands_in_the_table_and_no_other_does() {
    let families = families();
    let mut used: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in sources() {
        for code in quoted(&text) {
            let family = code.split_once('.').map_or("", |(family, _)| family);
            if families.contains(family) && !OTHERS.contains(&code) && !is_file(code) {
                used.entry(code.to_owned()).or_insert_with(|| path.clone());
            }
        }
    }
    let known: BTreeSet<&str> = CODES.iter().map(|one| one.code).collect();
    let missing: Vec<_> = used.iter().filter(|(code, _)| !known.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "write them into codes.rs: {missing:#?}");
    let dotted = CODES.iter().map(|one| one.code).filter(|code| code.contains('.'));
    let unused: Vec<_> = dotted.filter(|code| !used.contains_key(*code)).collect();
    assert!(unused.is_empty(), "no code uses them any more: {unused:?}");
}

fn is_file(name: &str) -> bool {
    let ending = name.rsplit('.').next().unwrap_or_default();
    [
        "rs", "yaml", "yml", "json", "wasm", "crt", "key", "pem", "toml", "lock", "md", "txt",
        "new", "pub",
    ]
    .contains(&ending)
}

#[test]
fn codes_that_refusals_are_made_with_are_of_a_known_family() {
    let makers = ["Refusal::new(", ".problem(", "Refused::new(", "by_proxy("];
    let families = families();
    let mut strange = Vec::new();
    for (path, text) in sources() {
        for maker in makers {
            for call in text.split(maker).skip(1) {
                let call: String = call.chars().take(200).collect();
                let Some(code) = quoted(&call).next() else { continue };
                let family = code.split_once('.').map_or("", |(family, _)| family);
                if !families.contains(family) && !is_file(code) {
                    strange.push((path.clone(), code.to_owned()));
                }
            }
        }
    }
    assert!(strange.is_empty(), "write their families into codes.rs: {strange:#?}");
}

#[test]
fn a_code_stands_in_the_table_once_with_all_that_there_is_to_say() {
    let mut seen = BTreeSet::new();
    for Code { code, meaning, set_by, remedy } in CODES.iter().chain(FAULTS) {
        assert!(seen.insert(code), "{code} is there twice");
        for text in [meaning, set_by, remedy] {
            assert!(
                !text.is_empty() && !text.ends_with('.') && !text.contains('|'),
                "{code}: {text}"
            );
        }
    }
}

#[test]
fn a_code_is_found_as_it_is_printed_and_by_its_family_and_others_are_suggested() {
    let codes =
        |text: &str| find(Some(text)).map(|all| all.iter().map(|one| one.code).collect::<Vec<_>>());
    assert_eq!(codes("trust.threshold").unwrap(), ["trust.threshold"]);
    assert_eq!(codes("refused:trust.threshold").unwrap(), ["trust.threshold"]);
    assert_eq!(
        codes("guard").unwrap(),
        [
            "guard.empty-chain",
            "guard.protection",
            "guard.blast-radius",
            "guard.trust",
            "guard.revoke",
            "guard.approvals"
        ]
    );
    assert_eq!(find(None).unwrap().len(), CODES.len() + FAULTS.len());
    let error = codes("trust.treshold").unwrap_err().to_string();
    assert!(error.ends_with("did you mean `trust.threshold`?"), "{error}");
    let error = codes("nothing.like-it").unwrap_err().to_string();
    assert_eq!(error, "there is no code nothing.like-it; `tamis explain` lists all");
    for kind in tamis_engine::CallFault::KINDS {
        assert_eq!(codes(kind).unwrap(), [kind], "a table of cases names it");
    }
    let told = whole(&find(Some("assign.rollback")).unwrap()[0]);
    assert!(told.contains("the way out     `tamis reassign`"), "{told}");
}
