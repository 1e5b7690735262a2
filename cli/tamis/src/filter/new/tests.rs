//! Names people give, and the folder they get.

use super::*;
use crate::builtin::{Description, worlds};
use clap::ValueEnum as _;
use tamis_sdk::{Config, Filter};
use tamis_testkit::Table;
use tempfile::TempDir;

fn make(folder: PathBuf, namespace: &str) -> Result<ExitCode> {
    run(
        &Arguments { folder, namespace: namespace.to_owned(), world: World::default() },
        Output::Json,
    )
}

#[test]
fn hostile_names_are_refused_with_the_rule_and_leave_nothing() {
    let root = TempDir::new().unwrap();
    let long = "a".repeat(300);
    for name in [
        "Ünï",
        "UPPER",
        "a b",
        "-a",
        "a-",
        "1a",
        "a_b",
        "a.b",
        "a\nb",
        "fn",
        "self",
        "test",
        "core",
        "tamis-sdk",
        &long,
    ] {
        let said = format!("{:#}", make(root.path().join(name), "acme").unwrap_err());
        assert!(said.contains('`') && said.contains("name"), "{name:?}: {said}");
        assert!(said.len() < 200, "{said}");
    }
    for folder in [root.path().join(".."), PathBuf::from("/"), PathBuf::from("."), PathBuf::new()] {
        assert!(make(folder, "acme").is_err());
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn hostile_namespaces_are_refused() {
    let root = TempDir::new().unwrap();
    for namespace in ["../x", "", "A", "a b", "acme\"", "a\nb", "@NAME@"] {
        let said = format!("{:#}", make(root.path().join("good"), namespace).unwrap_err());
        assert!(said.starts_with("--namespace"), "{namespace:?}: {said}");
    }
    assert!(!root.path().join("good").exists());
}

#[test]
fn a_folder_is_whole_with_every_blank_filled_and_is_made_once() {
    let root = TempDir::new().unwrap();
    // The path may lead anywhere; its last part is the name.
    let folder = root.path().join("deep/er/my-filter2");
    make(folder.clone(), "acme").unwrap();
    let description = fs::read_to_string(folder.join("filter.yaml")).unwrap();
    let description: Description = serde_norway::from_str(&description).unwrap();
    assert_eq!(description.name, "acme/my-filter2");
    for file in [
        "Cargo.toml",
        "src/lib.rs",
        "tests/cases.yaml",
        "tests/cases.schema.json",
        "README.md",
        "vendor/tamis/sdk/rust/Cargo.toml",
    ] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        assert!(!blank(&text), "{file} has a blank: {text}");
    }
    assert!(folder.join("vendor/tamis/wit/worlds.wit").exists());
    assert!(!folder.join("vendor/tamis/wit/0.1").exists(), "it is of the newest contract");
    let said = format!("{:#}", make(folder, "acme").unwrap_err());
    assert!(said.contains("exists already"), "{said}");
}

#[test]
fn whatever_has_the_name_already_stays_as_it_is() {
    use std::os::unix::fs::symlink;
    let (root, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mine = out.path().join("mine");
    type Plant<'a> = &'a dyn Fn(&Path);
    let rows: [(&str, Plant<'_>); 5] = [
        ("a file", &|path| fs::write(path, "precious").unwrap()),
        ("an empty folder", &|path| fs::create_dir(path).unwrap()),
        ("a link to a folder", &|path| symlink(out.path(), path).unwrap()),
        ("a link to nothing", &|path| symlink(&mine, path).unwrap()),
        ("a link to itself", &|path| symlink(path, path).unwrap()),
    ];
    for (number, (what, plant)) in rows.into_iter().enumerate() {
        let folder = root.path().join(format!("filter{number}"));
        plant(&folder);
        let said = format!("{:#}", make(folder.clone(), "acme").unwrap_err());
        assert!(said.contains("exists already"), "{what}: {said}");
        let kept = folder.symlink_metadata().unwrap();
        assert_eq!(kept.is_symlink(), what.contains("link"), "{what}");
        assert!(!folder.join("Cargo.toml").exists(), "{what}");
    }
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "nothing is written behind a link");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let said = format!("{:#}", make(root.path().join("file/filter"), "acme").unwrap_err());
    assert!(said.contains("file/filter") && said.contains("cannot be made"), "{said}");
}

/// Whether a text has a word between two `@`.
fn blank(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase());
    parts.iter().skip(1).any(word)
}

#[test]
fn every_world_of_the_contract_has_a_filter_to_begin_with() {
    let root = TempDir::new().unwrap();
    let mut names: Vec<String> = worlds();
    names.retain(|name| name != "everything");
    names.sort();
    let mut made: Vec<String> = World::value_variants().iter().map(|world| world.name()).collect();
    made.sort();
    assert_eq!(made, names);
    for world in World::value_variants() {
        let folder = root.path().join(world.name());
        run(
            &Arguments { folder: folder.clone(), namespace: "acme".to_owned(), world: *world },
            Output::Json,
        )
        .unwrap();
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        for file in ["filter.yaml", "src/lib.rs", "tests/cases.yaml", "README.md"] {
            assert!(!blank(&read(file)), "{file}: {}", read(file));
        }
        // A panic says what and where, in the first version already.
        let code = read("src/lib.rs");
        let configure = code.split("fn configure(").nth(1).unwrap_or_default();
        let mut lines = configure.lines().skip(1).map(str::trim);
        let first = lines.find(|line| !line.starts_with("//"));
        assert_eq!(first, Some("tamis_sdk::log_panics();"), "{}", world.name());
        assert!(read("README.md").contains("log: {}"), "{}: its grant", world.name());
        let description = Description::parse(&read("filter.yaml")).unwrap();
        assert_eq!(description.world, Some(world.name()));
        let text = read("tests/cases.yaml");
        let schema = text.lines().next().and_then(|line| line.split_once("$schema="));
        let schema = schema.map(|(_, file)| read(&format!("tests/{file}"))).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema, Table::schema(), "the editor's schema is that of the reader");
        let table = Table::parse("tests/cases.yaml", &text);
        assert!(table.is_ok(), "{}", table.err().unwrap());
    }
}

// The code of each, compiled for this machine: it exports nothing here, and decides the same.
#[path = "worlds/authorizer.rs.in"]
mod authorizer;
#[path = "worlds/balance_policy.rs.in"]
mod balance_policy;
#[path = "worlds/breaker_policy.rs.in"]
mod breaker_policy;
#[path = "worlds/connection_policy.rs.in"]
mod connection_policy;
#[path = "worlds/head_policy.rs.in"]
mod head_policy;
#[path = "worlds/hedge_policy.rs.in"]
mod hedge_policy;
#[path = "worlds/metering_policy.rs.in"]
mod metering_policy;
#[path = "worlds/refreshing_authorizer.rs.in"]
mod refreshing_authorizer;
#[path = "worlds/retry_policy.rs.in"]
mod retry_policy;
#[path = "worlds/route_policy.rs.in"]
mod route_policy;
#[path = "worlds/telemetry_policy.rs.in"]
mod telemetry_policy;
#[path = "worlds/transformer.rs.in"]
mod transformer;

/// Whether a filter takes the configuration of its template, and refuses one with a field more.
fn takes<F: Filter>(world: World) {
    let config: serde_json::Value = serde_json::from_str(world.template().config).unwrap();
    let parse =
        |config: &serde_json::Value| Config::parse::<F::Settings>(&config.to_string()).is_ok();
    assert!(parse(&config), "{}", world.name());
    let mut more = config.clone();
    more["nothingOfTheKind"] = 1.into();
    assert!(!parse(&more), "{}", world.name());
    let schema: serde_json::Value = serde_json::from_str(F::SCHEMA).unwrap();
    for name in config.as_object().unwrap().keys() {
        assert!(schema["properties"].get(name).is_some(), "{}: {name}", world.name());
    }
    assert_eq!(schema["additionalProperties"], false, "{}", world.name());
}

#[test]
fn every_filter_to_begin_with_takes_its_configuration_and_has_the_schema_of_it() {
    takes::<authorizer::Agents>(World::Authorizer);
    takes::<refreshing_authorizer::Agents>(World::RefreshingAuthorizer);
    takes::<head_policy::Heads>(World::HeadPolicy);
    takes::<transformer::Words>(World::Transformer);
    takes::<route_policy::Prefixes>(World::RoutePolicy);
    takes::<retry_policy::Again>(World::RetryPolicy);
    takes::<hedge_policy::Second>(World::HedgePolicy);
    takes::<breaker_policy::Breaker>(World::BreakerPolicy);
    takes::<balance_policy::Weights>(World::BalancePolicy);
    takes::<telemetry_policy::Slow>(World::TelemetryPolicy);
    takes::<connection_policy::Addresses>(World::ConnectionPolicy);
    takes::<metering_policy::Meter>(World::MeteringPolicy);
}
