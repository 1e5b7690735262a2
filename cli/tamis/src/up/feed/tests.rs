//! A folder and its registry, without proxies.

#![expect(clippy::disallowed_methods, reason = "a test waits in real time")]

use super::*;
use crate::certificates;
use crate::up::member::members;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};
use tamis_client::{Client, ClientOptions};
use tamis_resources::parse;
use tempfile::TempDir;

const GATEWAY: &str = "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge, namespace: shop }\n\
    spec:\n  listeners: [{ name: http, port: 8080, protocol: HTTP }]\n  identity: spiffe://a.example/edge\n  \
    tls: { certificate: a.crt, key: a.key, ca: ca.crt }\n";

fn service(name: &str) -> String {
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec:\n  ports: [{{ port: 80, protocol: http }}]\n"
    )
}

/// Every change waits for the disk, which other tests keep busy too.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    folder: TempDir,
    feeding: FolderFeed,
    registry: EmbeddedRegistry,
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    certificates::make_authority(&folder.path().join("ca.crt")).unwrap();
    fs::write(folder.path().join("edge.yaml"), GATEWAY).unwrap();
    folder
}

const PORTS: Ports = Ports { offset: 0, apps: true };

fn edge() -> Vec<crate::up::member::Member> {
    members(&parse("edge.yaml", GATEWAY).0).unwrap()
}

fn registry(folder: &Path) -> Result<EmbeddedRegistry> {
    EmbeddedRegistry::start(folder, &edge(), (None, PORTS), Duration::from_secs(3_600))
}

impl World {
    fn start(folder: TempDir) -> Self {
        let registry = registry(folder.path()).unwrap();
        let store = folder.path().join(".tamis/store");
        let feeding = FolderFeed::start(folder.path(), PORTS, &store, &registry, Output::Json);
        let feeding = feeding.unwrap();
        Self { folder, feeding, registry }
    }

    /// Names and revisions of the documents in force.
    fn in_force(&self) -> Vec<(String, u64)> {
        let list = self.ask(async |client| client.resources().await).unwrap();
        list.items.into_iter().map(|one| (one.name, one.revision)).collect()
    }

    fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tamis_client::ClientError>,
    ) -> Result<T, tamis_client::ClientError> {
        let token = fs::read_to_string(&self.registry.token).unwrap();
        let server = self.registry.url.parse().unwrap();
        let client =
            Client::new(ClientOptions { token: Some(token), ..ClientOptions::new(server) })
                .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(question(&client))
    }

    /// The text of an attachment in force.
    fn attachment(&self, name: &str) -> Option<String> {
        let found =
            self.ask(async |client| client.resource("FilterAttachment", "shop", name).await);
        found.ok().map(|one| one.text)
    }

    fn names(&self) -> Vec<String> {
        self.in_force().into_iter().map(|(name, _)| name).collect()
    }

    /// Writes to another name and renames, as editors do: a pass sees either the old file or the new one.
    fn write(&self, name: &str, text: &str) {
        let (path, beside) = (self.folder.path().join(name), self.folder.path().join("beside"));
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, path).unwrap();
    }

    fn wait(&self, what: &str, until: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !until(self) {
            assert!(
                Instant::now() < end,
                "{what}: {:?} in force, {:?} wrong",
                self.names(),
                self.feeding.wrongs().lines()
            );
            // The pause between two checks leaves the processor to the feeder.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn what_changes_in_the_folder_changes_in_the_registry_and_nothing_else_does() {
    let world = World::start(folder());
    let first = world.in_force();
    world.write("a.yaml", &format!("{}---\n{}", service("a"), service("b")));
    world.wait("both come", |world| world.names() == ["edge", "a", "b"]);
    assert_eq!(world.in_force()[0], first[0], "what did not change was not sent again");
    fs::remove_file(world.folder.path().join("a.yaml")).unwrap();
    world.wait("both go", |world| world.names() == ["edge"]);
}

#[test]
fn a_document_that_breaks_stays_in_force_while_others_come_and_go() {
    let world = World::start(folder());
    world.write("a.yaml", &format!("{}---\n{}", service("a"), service("b")));
    world.write("c.yaml", &service("c"));
    world.wait("all come", |world| world.names() == ["edge", "a", "b", "c"]);
    let before = world.in_force();
    world.write(
        "a.yaml",
        &format!("{}---\n{}", service("a").replace("ports", "prots"), service("b")),
    );
    fs::remove_file(world.folder.path().join("c.yaml")).unwrap();
    world.write("d.yaml", &service("d"));
    world.wait("d comes, c goes", |world| world.names() == ["edge", "a", "b", "d"]);
    assert_eq!(world.in_force()[1], before[1], "the broken one is the last good one");
    world.wait("its place is told", |world| {
        world.feeding.wrongs().lines().iter().any(|line| line.starts_with("a.yaml:5:3: "))
    });
    world.write("a.yaml", &service("b"));
    world.wait("a goes", |world| world.names() == ["edge", "b", "d"]);
    world.wait("nothing is wrong", |world| world.feeding.wrongs().lines().is_empty());
}

#[test]
fn what_a_registry_does_not_answer_is_sent_again_and_what_it_refuses_is_not() {
    let folder = folder();
    let registry = registry(folder.path()).unwrap();
    let (store, wrongs) = (folder.path().join(".tamis/store"), FolderProblems::default());
    let told = wrongs.clone();
    let feeder = Feeder::new(folder.path(), PORTS, &store, &registry, told, Output::Json);
    let mut feeder = feeder.unwrap();
    assert!(!feeder.pass() && feeder.applied.is_some(), "all is sent");
    // Too many for a namespace.
    let many: Vec<String> = (0..20_000).map(|nth| service(&format!("a{nth}"))).collect();
    fs::write(folder.path().join("a.yaml"), many.join("---\n")).unwrap();
    assert!(!feeder.pass(), "it is refused: {:?}", wrongs.lines());
    assert!(!wrongs.lines().is_empty());
    drop(registry);
    fs::write(folder.path().join("a.yaml"), service("a")).unwrap();
    assert!(feeder.pass(), "nobody answers: {:?}", wrongs.lines());
    assert!(feeder.applied.is_none(), "it is unknown what is in force");
}

#[test]
fn a_start_in_a_broken_folder_takes_nothing_out() {
    let folder = folder();
    fs::write(folder.path().join("a.yaml"), service("a")).unwrap();
    let World { folder, feeding, registry } = World::start(folder);
    drop((feeding, registry));
    fs::write(folder.path().join("a.yaml"), "kind: [\n").unwrap();
    let world = World::start(folder);
    assert_eq!(world.names(), ["edge", "a"]);
    assert!(!world.feeding.wrongs().lines().is_empty());
}

#[test]
fn a_guard_that_comes_broken_closes_what_it_was_to_guard_until_it_is_mended_or_gone() {
    let world = World::start(folder());
    world.write("a.yaml", &service("a"));
    world.wait("a comes", |world| world.names() == ["edge", "a"]);
    let guard = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: g, namespace: shop }\n\
        spec:\n  targetRefs: [{ kind: Service, name: a }]\n  filter: acme/jwt\n  phase: PHASE\n  order: 10\n";
    let said = |world: &World| world.attachment("g").unwrap_or_default();
    world.write("g.yaml", &guard.replace("PHASE", "auth"));
    world.wait("it is closed", |world| said(world).contains("tamis.dev/stands-in"));
    // Another broken form of it closes something else.
    let other = guard.replace("PHASE", "auth").replace("name: a }", "name: b }");
    world.write("g.yaml", &other);
    world.wait("something else is", |world| said(world).contains("\"name\":\"b\""));
    // Neither is ever taken for a form that was good: a start after this one knows as much.
    let kept = world.registry.folder.join("known.json");
    assert!(!fs::read_to_string(&kept).unwrap().contains("FilterAttachment/shop/g\":"));
    world.write("g.yaml", &guard.replace("PHASE", "authn"));
    world.wait("it is as it is written", |world| said(world).contains("phase: authn"));
    // From now on its last good form stays.
    world.write("g.yaml", &guard.replace("PHASE", "auth"));
    world.wait("it is told", |world| {
        world.feeding.wrongs().lines().iter().any(|line| line.starts_with("g.yaml:"))
    });
    assert!(said(&world).contains("phase: authn"));
    fs::remove_file(world.folder.path().join("g.yaml")).unwrap();
    world.wait("it is gone", |world| world.names() == ["edge", "a"]);
    // One that is broken from the start is closed as well, and stays so beside another fault.
    world.write("x.yaml", "kind: Service\n");
    world.write("g.yaml", &guard.replace("PHASE", "auth"));
    world.wait("it is closed again", |world| said(world).contains("tamis.dev/stands-in"));
    let World { folder, feeding, registry } = world;
    drop((feeding, registry));
    let world = World::start(folder);
    assert!(said(&world).contains("tamis.dev/stands-in"), "over a restart");
    fs::remove_file(world.folder.path().join("g.yaml")).unwrap();
    world.wait("it goes beside another fault", |world| world.names() == ["edge", "a"]);
    for name in ["known.json", "lock.json"] {
        let path = world.registry.folder.join(name);
        let Ok(about) = fs::metadata(&path) else { continue };
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// A guard of the gateway.
const GUARD: &str = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: g, namespace: shop }\n\
    spec: { targetRefs: [{ kind: Gateway, name: edge }], filter: acme/jwt, phase: authn, order: 10 }\n";

#[test]
fn a_guard_that_moves_into_a_part_that_cannot_be_read_stays_in_the_registry() {
    let moved = |text: &str| format!("{text}---\n{GUARD} x: [ broken\n");
    for (what, file, before) in [
        ("a known file", "other.yaml", Some(service("a"))),
        ("a new file", "new.yaml", None),
        ("the file of the gateway", "edge.yaml", Some(GATEWAY.to_owned())),
    ] {
        let folder = folder();
        fs::write(folder.path().join("guard.yaml"), GUARD).unwrap();
        if let Some(before) = &before {
            fs::write(folder.path().join(file), before).unwrap();
        }
        let world = World::start(folder);
        assert!(world.attachment("g").is_some(), "{what}");
        world.write(file, &moved(before.as_deref().unwrap_or_default()));
        fs::remove_file(world.folder.path().join("guard.yaml")).unwrap();
        // A change that is taken comes after the guard was gone from its file.
        world.write("last.yaml", &GUARD.replace("name: g,", "name: last,").replace("10 }", "11 }"));
        world.wait("a new guard comes", |world| world.attachment("last").is_some());
        assert!(world.attachment("g").is_some(), "{what}: {:?}", world.feeding.wrongs().lines());
        // What is new waits, and what changed, over a restart as well.
        world.write("late.yaml", &service("late"));
        let waits = |world: &World| {
            let lines = world.feeding.wrongs().lines();
            lines.iter().any(|line| line.contains(&format!("Service/shop/late waits until {file}")))
        };
        world.wait("a new service waits", waits);
        let World { folder, feeding, registry } = world;
        drop((feeding, registry));
        let world = World::start(folder);
        assert!(world.attachment("g").is_some(), "{what}, over a restart");
        assert!(waits(&world) && !world.names().contains(&"late".to_owned()), "{what}");
        // Where it can be read again, what is not there is gone, and what waited comes.
        let mended = before.unwrap_or_else(|| service("b"));
        world.write(file, &mended);
        world.wait("it is gone", |world| world.attachment("g").is_none());
        world.wait("what waited comes", |world| world.names().contains(&"late".to_owned()));
    }
}

#[test]
fn a_component_that_was_changed_is_told_with_its_place() {
    let world = World::start(folder());
    let store = world.folder.path().join(".tamis/store");
    fs::create_dir(&store).unwrap();
    let input = tamis_trust::BuildInput::new("acme/a", "1.0.0");
    let manifest = tamis_trust::build(b"\0asm", &input).unwrap();
    fs::write(store.join("acme-a-1.0.0.wasm"), b"\0asm").unwrap();
    fs::write(store.join("acme-a-1.0.0.wasm.manifest.json"), &manifest).unwrap();
    world.write("a.yaml", &service("a"));
    world.wait("a comes", |world| world.names() == ["edge", "a"]);
    world.wait("nothing is wrong", |world| world.feeding.wrongs().lines().is_empty());
    fs::write(store.join("acme-a-1.0.0.wasm"), b"\0asm\0").unwrap();
    world.wait("it is told", |world| {
        let lines = world.feeding.wrongs().lines();
        lines.iter().any(|line| line.contains("acme-a-1.0.0.wasm: it does not match its manifest"))
    });
}

#[test]
fn a_guard_that_may_stand_in_the_wrong_namespace_keeps_the_folder_from_being_served() {
    let folder = folder();
    let registry = registry(folder.path()).unwrap();
    let guard = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: g, namespace: shpo }\n\
        spec: { targetRefs: [{ kind: Gateway, name: edge }], filter: acme/jwt, phase: authn, order: 10 }\n";
    let write = |text: &str| fs::write(folder.path().join("g.yaml"), text).unwrap();
    write(guard);
    let why = ready(folder.path(), &registry).unwrap_err().to_string();
    assert!(why.contains("g.yaml:4:") && why.contains("Gateway shop/edge exists"), "{why}");
    write(&guard.replace("shpo", "shop"));
    ready(folder.path(), &registry).unwrap();
    // What cannot be read has its way out, too.
    write("kind: List\napiVersion: v1\nitems: []\n");
    let why = ready(folder.path(), &registry).unwrap_err().to_string();
    assert!(why.contains("write each document for itself"), "{why}");
}

#[test]
fn what_looks_like_a_document_and_is_not_read_is_named() {
    let folder = folder();
    fs::write(folder.path().join("g.json"), r#"{ "apiVersion": "v1", "kind": "Service" }"#)
        .unwrap();
    let world = World::start(folder);
    let named = |world: &World| {
        let lines = world.feeding.wrongs().lines();
        lines.iter().any(|line| line.starts_with("g.json: it looks like a document"))
    };
    assert!(named(&world), "{:?}", world.feeding.wrongs().lines());
    fs::remove_file(world.folder.path().join("g.json")).unwrap();
    world.wait("it is gone", |world| !named(world));
}

#[test]
fn a_folder_runs_once_at_a_time() {
    let folder = folder();
    let first = registry(folder.path()).unwrap();
    let error = registry(folder.path()).err().unwrap().to_string();
    assert!(error.contains("another `tamis up`"), "{error}");
    drop(first);
    registry(folder.path()).unwrap();
}

#[test]
fn what_is_written_while_everything_runs_is_no_change() {
    for own in
        [".tamis/registry/journal.db", "./.tamis/access/a.jsonl", "/a/.tamis/state/x/seen.json"]
    {
        assert!(is_own(Path::new(own)), "{own}");
    }
    for other in [".tamis/filters.lock.yaml", ".tamis/store/a.wasm", "registry/a.yaml", ".tamis"] {
        assert!(!is_own(Path::new(other)), "{other}");
    }
}
