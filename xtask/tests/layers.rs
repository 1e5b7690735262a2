//! The arrows between the crates, as cargo sees them: what a crate must be unable to reach.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where the graph is not what cargo promises"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// How one package depends on another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Normal,
    Build,
    Dev,
}

/// The resolved graph, by package name. Versions are left out: no rule here asks for one.
struct Graph {
    edges: BTreeMap<String, Vec<(String, Kind)>>,
    /// Members of the workspace with the folder they lie in, like `host/proxy`.
    members: BTreeMap<String, String>,
}

impl Graph {
    /// Asks cargo for every feature on every platform.
    fn load() -> Self {
        let metadata = cargo(&["metadata", "--format-version", "1", "--all-features"]);
        Self::parse(&serde_json::from_str(&metadata).expect("cargo writes JSON"))
    }

    fn parse(metadata: &Value) -> Self {
        let root = text(&metadata["workspace_root"]);
        let packages = array(&metadata["packages"]);
        let names: BTreeMap<&str, &str> =
            packages.iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let folders: BTreeMap<&str, &str> = packages
            .iter()
            .map(|package| (text(&package["id"]), text(&package["manifest_path"])))
            .collect();
        let members = array(&metadata["workspace_members"])
            .iter()
            .map(|id| {
                let folder = folders[text(id)].trim_start_matches(root).trim_start_matches('/');
                (names[text(id)].to_owned(), folder.trim_end_matches("/Cargo.toml").to_owned())
            })
            .collect();
        let mut edges: BTreeMap<String, Vec<(String, Kind)>> = BTreeMap::new();
        for node in array(&metadata["resolve"]["nodes"]) {
            let from = edges.entry(names[text(&node["id"])].to_owned()).or_default();
            for dependency in array(&node["deps"]) {
                let to = names[text(&dependency["pkg"])];
                for how in array(&dependency["dep_kinds"]) {
                    from.push((to.to_owned(), kind(&how["kind"])));
                }
            }
        }
        Self { edges, members }
    }

    /// Members in a folder of the root, like `host`.
    fn members_in(&self, folder: &str) -> Vec<&str> {
        let start = format!("{folder}/");
        let found: Vec<_> = (self.members.iter())
            .filter(|(_, place)| place.starts_with(&start))
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(!found.is_empty(), "no crate lies in {folder}");
        found
    }

    /// Everything the package reaches through dependencies of these kinds.
    fn reach(&self, package: &str, kinds: &[Kind]) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![package];
        while let Some(next) = open.pop() {
            for (to, kind) in self.edges.get(next).into_iter().flatten() {
                if kinds.contains(kind) && reached.insert(to.as_str()) {
                    open.push(to);
                }
            }
        }
        reached
    }

    /// Members that name the package in their own manifest, tests aside.
    fn members_naming(&self, package: &str) -> Vec<&str> {
        let named = |member: &str| {
            self.edges[member].iter().any(|(to, kind)| to == package && *kind != Kind::Dev)
        };
        self.members.keys().map(String::as_str).filter(|member| named(member)).collect()
    }
}

/// What one member ships when it is built alone, with the features that it turns on itself. The
/// graph above cannot tell: there a feature that any member wants is on for all.
fn shipped(member: &str) -> BTreeMap<String, String> {
    let tree = cargo(&["tree", "-p", member, "-e", "normal", "--prefix", "none", "-f", "{p}|{f}"]);
    let lines = tree.lines().filter_map(|line| line.split_once('|'));
    lines
        .map(|(package, features)| {
            let name = package.split(' ').next().unwrap_or_default();
            (name.to_owned(), features.trim_end_matches(" (*)").to_owned())
        })
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).expect("an array")
}

fn kind(value: &Value) -> Kind {
    match value.as_str() {
        None => Kind::Normal,
        Some("build") => Kind::Build,
        Some("dev") => Kind::Dev,
        Some(other) => panic!("cargo knows a new kind of dependency: {other}"),
    }
}

#[test]
fn nothing_that_ships_depends_on_a_filter() {
    let graph = Graph::load();
    let filters: BTreeSet<_> = graph.members_in("filters").into_iter().collect();
    for folder in ["common", "host", "registry", "cli", "sdk"] {
        for member in graph.members_in(folder) {
            let reached = graph.reach(member, &[Kind::Normal, Kind::Build]);
            let found: Vec<_> = reached.intersection(&filters).collect();
            assert!(found.is_empty(), "{member} reaches {found:?}");
        }
    }
}

#[test]
fn a_filter_depends_on_the_sdk_and_on_no_other_part() {
    let graph = Graph::load();
    let examples = graph.members_in("examples/filters");
    for filter in graph.members_in("filters").into_iter().chain(examples) {
        for member in graph.reach(filter, &[Kind::Normal, Kind::Build]) {
            let own = graph.members.contains_key(member);
            // What several built-in filters share lies beside them.
            let shared = matches!(member, "tamis-callers" | "tamis-jose")
                && graph.members[filter].starts_with("filters/");
            assert!(!own || member == "tamis-sdk" || shared, "{filter} reaches {member}");
        }
    }
}

#[test]
fn the_exchange_and_the_engine_can_open_no_socket() {
    for member in ["tamis-exchange", "tamis-engine"] {
        let shipped = shipped(member);
        for door in ["mio", "socket2", "hyper-util", "rustls", "tamis-transport"] {
            assert!(!shipped.contains_key(door), "{member} reaches {door}");
        }
        // hyper's types bring tokio's channels; its sockets are a feature of their own.
        let tokio = shipped.get("tokio").cloned().unwrap_or_default();
        assert!(!tokio.split(',').any(|feature| feature == "net"), "{member} reaches tokio's net");
    }
}

#[test]
fn the_resources_trust_and_policy_know_no_runtime_and_no_network() {
    for member in ["tamis-resources", "tamis-trust", "tamis-tuf"] {
        let shipped = shipped(member);
        for door in ["tokio", "socket2", "mio", "hyper", "rustls", "wasmtime"] {
            assert!(!shipped.contains_key(door), "{member} reaches {door}");
        }
    }
}

#[test]
fn the_director_and_push_can_do_no_input_and_output() {
    for member in ["tamis-ambient", "tamis-director", "tamis-sync", "tamis-api"] {
        let shipped = shipped(member);
        for door in ["tokio", "socket2", "mio", "hyper", "rustls", "rusqlite", "wasmtime"] {
            assert!(!shipped.contains_key(door), "{member} reaches {door}");
        }
    }
}

/// Which top-level folders the crates of each may reach, in what ships and in build scripts.
const WINGS: &[(&str, &[&str])] = &[
    ("common", &["common"]),
    ("host", &["common", "host"]),
    ("registry", &["common", "registry"]),
    ("cli", &["common", "host", "registry", "cli", "sdk"]),
];

#[test]
fn the_data_plane_and_the_control_plane_meet_in_common_alone() {
    let graph = Graph::load();
    for (wing, allowed) in WINGS {
        for member in graph.members_in(wing) {
            for reached in graph.reach(member, &[Kind::Normal, Kind::Build]) {
                let Some(place) = graph.members.get(reached) else { continue };
                let other = place.split('/').next().unwrap_or_default();
                assert!(allowed.contains(&other), "{member} reaches {place}");
            }
        }
    }
}

#[test]
fn a_proxy_serves_without_the_libraries_of_the_registry() {
    for member in ["tamis-proxy", "tamis-node"] {
        assert!(!shipped(member).contains_key("axum"), "{member} reaches axum");
    }
}

#[test]
fn heavy_libraries_have_one_door() {
    let graph = Graph::load();
    assert_eq!(graph.members_naming("wasmtime"), ["tamis-engine"]);
    assert_eq!(graph.members_naming("rustls"), ["tamis-transport"]);
    assert_eq!(graph.members_naming("tokio-rustls"), ["tamis-transport"]);
}

#[test]
fn the_graph_tells_tests_from_what_ships() {
    let graph = Graph::parse(&serde_json::json!({
        "workspace_root": "/w",
        "workspace_members": ["a", "b"],
        "packages": [
            { "id": "a", "name": "one", "manifest_path": "/w/host/one/Cargo.toml" },
            { "id": "b", "name": "two", "manifest_path": "/w/filters/two/Cargo.toml" },
            { "id": "c", "name": "three", "manifest_path": "/elsewhere/Cargo.toml" },
        ],
        "resolve": { "nodes": [
            { "id": "a", "deps": [{ "pkg": "b", "dep_kinds": [{ "kind": "dev" }] }] },
            { "id": "b", "deps": [{ "pkg": "c", "dep_kinds": [{ "kind": null }, { "kind": "dev" }] }] },
            { "id": "c", "deps": [] },
        ] },
    }));
    assert_eq!(graph.members_in("host"), ["one"]);
    assert!(graph.reach("one", &[Kind::Normal]).is_empty());
    assert_eq!(graph.reach("one", &[Kind::Normal, Kind::Dev]).len(), 2);
    assert_eq!(graph.members_naming("three"), ["two"]);
}

/// Dependencies are optimised in the profile for development, and the members are named there one by one as exceptions: one
/// that is missing takes several times as long to build, without a word.
#[test]
fn every_member_is_quick_to_build() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).expect("the workspace has a manifest");
    let (_, table) =
        manifest.split_once("[profile.dev.package]\n").expect("the table of exceptions");
    let named: BTreeSet<&str> = (table.lines())
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_suffix(" = { opt-level = 0 }"))
        .collect();
    let graph = Graph::load();
    let members: BTreeSet<&str> = graph.members.keys().map(String::as_str).collect();
    let missing: Vec<_> = members.difference(&named).collect();
    assert!(missing.is_empty(), "no row in Cargo.toml, [profile.dev.package]: {missing:?}");
}
