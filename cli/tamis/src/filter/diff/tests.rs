//! The report when one component is to replace another.

use super::*;
use crate::builtin;
use crate::filter::artifact;
use tempfile::TempDir;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for builtin in builtin::all().unwrap() {
        let name = builtin.name.replace("tamis/", "");
        std::fs::write(folder.path().join(format!("{name}.wasm")), builtin.component).unwrap();
    }
    folder
}

fn arguments(folder: &TempDir, a: &str, b: &str) -> Arguments {
    let path = |name: &str| folder.path().join(format!("{name}.wasm"));
    Arguments { a: path(a), b: path(b), config: None, grant: None }
}

fn signed(folder: &TempDir, name: &str, change: impl FnOnce(&str) -> String) {
    let path = folder.path().join(format!("{name}.wasm"));
    let octets = std::fs::read(&path).unwrap();
    let manifest = artifact::manifest(&octets, &format!("acme/{name}"), "2.0.0").unwrap();
    let manifest = change(&String::from_utf8(manifest).unwrap());
    std::fs::write(artifact::beside(&path, ".manifest.json"), manifest).unwrap();
    std::fs::write(artifact::beside(&path, ".sigstore.json"), "").unwrap();
}

#[test]
fn a_component_grows_by_nothing_beyond_itself() {
    let folder = folder();
    signed(&folder, "retry", str::to_owned);
    let compared = compare(&arguments(&folder, "retry", "retry")).unwrap();
    assert_eq!((&compared.gained, &compared.lost), (&vec![], &vec![]));
    let value = compared.json();
    assert_eq!((&value["grows"], &value["a"]["name"]), (&json!(false), &json!("acme/retry")));
    let text = compared.text();
    assert!(text.starts_with("acme/retry 2.0.0 -> acme/retry 2.0.0\nsize "), "{text}");
    assert!(text.ends_with("nothing more than before"), "{text}");
}

#[test]
fn hooks_imports_and_fields_that_are_gained_and_lost_are_named() {
    let folder = folder();
    let forth = compare(&arguments(&folder, "telemetry", "retry")).unwrap();
    let back = compare(&arguments(&folder, "retry", "telemetry")).unwrap();
    assert!(forth.gained.iter().any(|one| one.to_string() == "hook retry"), "{}", forth.text());
    assert!(forth.lost.iter().any(|one| one.to_string() == "hook telemetry"), "{}", forth.text());
    assert_eq!(forth.lost, back.gained);
    let text = back.text();
    assert!(text.contains("\n+ hook telemetry\n") && text.contains("\n- hook retry"), "{text}");
    assert!(text.ends_with("it may do more than before"), "{text}");
    assert_eq!(back.json()["grows"], true);
}

#[test]
fn settings_that_a_version_gained_or_lost_are_named_in_the_text_and_in_json() {
    let folder = folder();
    let compared = compare(&arguments(&folder, "telemetry", "retry")).unwrap();
    let (text, value) = (compared.text(), compared.json());
    for line in [
        "+ setting attempts: integer, default 3, minimum 1",
        "+ setting statuses[]: integer, maximum 599, minimum 100",
        "a configuration of the one may be wrong for the other",
    ] {
        assert!(text.contains(&format!("\n{line}")), "{line}: {text}");
    }
    let attempts = json!({
        "kind": "new", "setting": "attempts", "allowed": "integer, default 3, minimum 1",
    });
    assert!(value["settings"].as_array().unwrap().contains(&attempts), "{value}");
    let back = compare(&arguments(&folder, "retry", "telemetry")).unwrap().text();
    assert!(back.contains("\n- setting attempts\n"), "{back}");
    let same = compare(&arguments(&folder, "retry", "retry")).unwrap();
    assert!(!same.text().contains("setting"), "{}", same.text());
    assert_eq!(same.json()["settings"], json!([]));
}

#[test]
fn what_cannot_be_configured_may_do_more_for_all_anybody_knows() {
    let folder = folder();
    let mut arguments = arguments(&folder, "telemetry", "retry");
    let config = folder.path().join("config.json");
    std::fs::write(&config, r#"{"nonsense":1}"#).unwrap();
    arguments.config = Some(config.clone());
    let compared = compare(&arguments).unwrap();
    let unknown =
        |grown: &[AuthorityGrowth]| grown.iter().any(|one| one.kind == GrowthKind::Unknown);
    assert!(unknown(&compared.gained) && !unknown(&compared.lost));
    assert!(compared.text().contains("/nonsense"), "{}", compared.text());
    let same = Arguments { b: arguments.a.clone(), ..arguments };
    assert!(
        compare(&same).unwrap().gained.is_empty(),
        "identical bytes have identical capabilities"
    );
    std::fs::write(&config, "{").unwrap();
    let said = format!("{:#}", compare(&same).err().unwrap());
    assert!(said.starts_with("the configuration is not JSON"), "{said}");
}

#[test]
fn a_filter_of_an_older_contract_is_told_what_moving_needs() {
    let folder = folder();
    let of = |contract| Inspection {
        contract,
        hooks: vec![tamis_engine::Hook::Response],
        imports: vec![],
        wasi: vec![],
        others: vec![],
        size: 1,
    };
    let (old, new) = (Contract::V0_1, Contract::NEWEST);
    for (a, b, changes, moves) in [
        (old, new, true, false),
        (new, old, true, true),
        (old, old, false, true),
        (new, new, false, false),
    ] {
        let mut compared = compare(&arguments(&folder, "retry", "retry")).unwrap();
        (compared.a.inspection, compared.b.inspection) = (of(a), of(b));
        let text = compared.text();
        assert_eq!(text.contains(&format!("contract {a} -> {b}\n")), changes, "{text}");
        assert_eq!(text.contains("to move it to 0.2:\n  build it with the SDK"), moves, "{text}");
        assert_eq!(text.contains("declare `responses: all`"), moves, "{text}");
        assert_eq!(compared.json()["moving"].as_array().unwrap().is_empty(), !moves);
    }
}

#[test]
fn a_manifest_that_is_not_the_components_is_an_error() {
    let folder = folder();
    let said = |folder: &TempDir| {
        format!("{:#}", compare(&arguments(folder, "retry", "telemetry")).err().unwrap())
    };
    signed(&folder, "telemetry", |text| text.replace("acme/telemetry", "nonsense"));
    assert!(
        said(&folder).contains("telemetry.wasm belongs to another component"),
        "{}",
        said(&folder)
    );
    let octets = std::fs::read(folder.path().join("telemetry.wasm")).unwrap();
    let claims_nothing =
        tamis_trust::build(&octets, &tamis_trust::BuildInput::new("acme/telemetry", "2.0.0"))
            .unwrap();
    signed(&folder, "telemetry", |_| String::from_utf8(claims_nothing).unwrap());
    assert!(said(&folder).contains("trust.claims"), "{}", said(&folder));
    std::fs::remove_file(folder.path().join("telemetry.wasm")).unwrap();
    assert!(said(&folder).contains("telemetry.wasm cannot be read"), "{}", said(&folder));
}
