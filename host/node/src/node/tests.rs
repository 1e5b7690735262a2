//! A node and its folder.

use super::*;
use crate::code::Code;
use crate::staging::StageResult;
use crate::testing::shared;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use tamis_ambient::{Clock, Random};
use tamis_engine::CacheFolders;
use tempfile::TempDir;

pub(crate) fn gateway(port: u16) -> String {
    format!(
        "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: edge, namespace: test }}\n\
         spec:\n  addresses: [{{ type: IPAddress, value: 127.0.0.1 }}]\n  listeners: [{{ name: http, port: {port}, protocol: HTTP }}]\n"
    )
}

pub(crate) fn service(name: &str) -> String {
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\n\
         spec: {{ ports: [{{ port: 80, protocol: http }}], endpoints: [{{ address: 127.0.0.1:9 }}] }}\n"
    )
}

/// A folder with a gateway on a port of its own.
pub(crate) fn folder() -> (TempDir, SocketAddr) {
    let (folder, address) = (TempDir::new().unwrap(), tamis_harness::ports::address());
    std::fs::write(folder.path().join("edge.yaml"), gateway(address.port())).unwrap();
    (folder, address)
}

pub(crate) fn start(folder: &Path) -> Result<(Node, Reload), NodeError> {
    let shared = NodeResources { code: Code::default(), ..shared() };
    let options = NodeOptions {
        name: "gateway:test/edge".parse().unwrap(),
        source: DocumentPlaces::folder(folder),
        store: ArtifactStore::new(vec![folder.join("store")]),
        secrets: Secrets::default(),
        certificates: None,
        proxy: ProxyOptions { workers: NonZeroUsize::new(1), ..ProxyOptions::default() },
    };
    Node::start(&shared, options)
}

fn says(error: &NodeError) -> String {
    tamis_transport::causes(error)
}

#[test]
fn it_serves_what_its_documents_plan_and_a_reload_without_change_is_none() {
    let (folder, address) = folder();
    let (node, reload) = start(folder.path()).unwrap();
    assert!(reload.changed && reload.problems.is_empty() && reload.notes.is_empty());
    assert_eq!((reload.node.as_str(), reload.generation), ("gateway:test/edge", 1));
    assert!(TcpStream::connect(address).is_ok());
    let again = node.reload();
    assert_eq!((again.changed, again.generation), (false, 1));
    node.shutdown(Duration::ZERO);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_in_use_is_an_error_with_listener_address_and_way_out() {
    let (folder, address) = folder();
    let _taken = TcpListener::bind(address).unwrap();
    let said = says(&start(folder.path()).err().unwrap());
    let address = address.to_string();
    assert!(
        said.contains("`http`") && said.contains(&address) && said.matches("ss -lptn").count() == 1,
        "{said}"
    );
}

#[test]
fn no_plan_says_what_is_wrong_with_the_documents_or_that_there_is_none() {
    let folder = TempDir::new().unwrap();
    let said = says(&start(folder.path()).err().unwrap());
    assert!(said.contains("gateway:test/edge") && said.contains("no Gateway"), "{said}");
    std::fs::write(folder.path().join("edge.yaml"), "kind: Gateway\n  bad: [\n").unwrap();
    let said = says(&start(folder.path()).err().unwrap());
    assert!(said.contains("edge.yaml:2:") && !said.contains('\n'), "{said}");
}

#[test]
fn a_listener_that_moves_to_a_port_in_use_stays_where_it_was() {
    let (folder, address) = folder();
    let (node, _) = start(folder.path()).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    std::fs::write(folder.path().join("edge.yaml"), gateway(port)).unwrap();
    let reload = node.reload();
    assert!(!reload.changed && reload.generation == 1);
    assert!(reload.notes[0].ends_with("nothing changed"), "{:?}", reload.notes);
    assert!(TcpStream::connect(address).is_ok());

    drop(taken);
    let reload = node.reload();
    assert!(reload.changed && reload.generation == 2, "{reload:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(TcpStream::connect(address).is_err(), "the old address is given back");
}

#[test]
fn a_document_that_breaks_stays_as_it_was_and_one_that_is_removed_is_gone() {
    let (folder, _) = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("app.yaml", &service("app"));
    let (node, _) = start(folder.path()).unwrap();
    let plan = || node.proxy().generation().config.to_string();
    let before = plan();

    write("edge.yaml", "kind: [\n");
    let reload = node.reload();
    assert_eq!(reload.problems[0].place.source, "edge.yaml");
    assert!(
        reload
            .notes
            .iter()
            .any(|note| note.contains("Gateway test/edge stays in its previous version")),
        "{:?}",
        reload.notes
    );
    assert_eq!(plan(), before);
    assert!(!node.proxy().status().problems.is_empty(), "the admin listener tells it too");

    std::fs::write(folder.path().join("edge.yaml"), [0xff, 0xfe]).unwrap();
    let reload = node.reload();
    assert!(
        reload.notes.iter().any(|note| note.starts_with("edge.yaml: not UTF-8")),
        "{:?}",
        reload.notes
    );
    assert!(
        reload.notes.iter().any(|note| note.contains("stays in its previous version")),
        "twice in a row"
    );

    std::fs::remove_file(folder.path().join("edge.yaml")).unwrap();
    let reload = node.reload();
    assert!(!reload.changed);
    assert!(
        reload.notes.iter().any(|note| note.contains("no document declares this proxy any more")),
        "{:?}",
        reload.notes
    );
}

#[test]
fn what_lies_in_a_folder_that_can_no_longer_be_read_stays() {
    let (folder, address) = folder();
    let deep = folder.path().join("1/2/3/4/5/6/7/8");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::rename(folder.path().join("edge.yaml"), deep.join("edge.yaml")).unwrap();
    let (node, _) = start(folder.path()).unwrap();
    // One folder deeper than is read: the document is out of reach, not removed.
    let staging = node.staging.lock().unwrap();
    assert!(staging.good.files().any(|file| file == "1/2/3/4/5/6/7/8/edge.yaml"));
    let unreadable = |path: &str| {
        let (path, why) = (path.to_owned(), "out of reach".to_owned());
        crate::Documents {
            unreadable: vec![crate::ReadFailure { path, why }],
            ..Default::default()
        }
    };
    let mut notes = Vec::new();
    let kept = staging.good.complete(unreadable("1/2/3"), false, &mut notes).unwrap();
    assert_eq!((kept.documents.len(), kept.unknown.len(), notes.len()), (1, 0, 1));
    // The content of another folder is unknown: whatever ran may have moved there, so it stays.
    let kept = staging.good.complete(unreadable("1/2/33"), false, &mut notes).unwrap();
    assert_eq!((kept.documents.len(), kept.unknown.len()), (1, 1));
    assert!(staging.good.complete(unreadable("1/2/33"), true, &mut notes).is_err());
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn folders_to_follow_are_those_that_are_there_each_once() {
    let (folder, _) = folder();
    let root = folder.path().to_owned();
    let (node, _) = start(&root).unwrap();
    assert_eq!(node.folders(), std::slice::from_ref(&root));
    std::fs::create_dir_all(root.join(".tamis")).unwrap();
    std::fs::create_dir_all(root.join("store")).unwrap();
    assert_eq!(node.folders(), [root], "what is in a followed folder is followed with it");
}

#[test]
fn a_cache_that_is_no_folder_is_an_error_that_says_what_it_is_for() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = {
        let folders = CacheFolders { code: &file, state: folder.path(), also: None };
        let shared = NodeResources::new(Some(folders), Clock::system(), Random::system());
        says(&shared.err().unwrap())
    };
    assert!(said.contains("compiled code cannot be stored in"), "{said}");
}

/// A page of an admin listener.
fn page(admin: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
    text
}

#[test]
fn no_page_of_the_admin_listener_shows_a_secret_of_a_configuration() {
    let secret = "aHVudGVyMi1odW50ZXIy";
    let attachment = |config: &str| {
        format!(
            "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: jwt, namespace: tamis }}\nspec: {{ world: refreshing-authorizer }}\n---\n\
             kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: guard, namespace: test }}\n\
             spec: {{ targetRefs: [{{ kind: Gateway, name: edge }}], filter: tamis/jwt, phase: authn, order: 10, config: {config} }}\n"
        )
    };
    let named =
        "{ issuers: [{ issuer: https://idp.example, jwks: { file: keys.json } }] }".to_owned();
    let oct = json!({ "kty": "oct", "kid": "one", "alg": "HS256", "k": secret });
    let written = |name: &str| format!("{{ issuers: [], {name} }}");
    // A configuration, the file that it may name, and whether the document is taken at all.
    let rows = [
        ("a key set", named.clone(), json!({ "keys": [oct] }), true),
        ("a key", named.clone(), oct.clone(), true),
        (
            "a private key",
            named.clone(),
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": secret }] }),
            true,
        ),
        (
            "a part of one",
            named.clone(),
            json!({ "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB", "qi": secret }] }),
            true,
        ),
        (
            "a field that is called so",
            named.clone(),
            json!({ "clientSecret": secret, "keys": [] }),
            true,
        ),
        ("in a list", named.clone(), json!({ "apiKeys": [secret, secret] }), true),
        (
            "in an address",
            named,
            json!({ "from": format!("https://me:{secret}@idp.example/") }),
            true,
        ),
        (
            "beside its name",
            written(&format!("set: [{{ name: authorization, value: {secret} }}]")),
            json!({}),
            true,
        ),
        ("a key in a document", written(&format!("keys: [{oct}]")), json!({}), false),
        ("a password in a document", written(&format!("password: {secret}")), json!({}), false),
    ];
    let (folder, _) = folder();
    let admin = tamis_harness::ports::address();
    let path = folder.path().join("edge.yaml");
    let edge = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{edge}  admin: {admin}\n")).unwrap();
    let write = |config: &str| {
        std::fs::write(folder.path().join("guard.yaml"), attachment(config)).unwrap();
    };
    write("{ issuers: [] }");
    let (node, _) = start(folder.path()).unwrap();
    for (what, config, file, taken) in rows {
        std::fs::write(folder.path().join("keys.json"), file.to_string()).unwrap();
        write(&config);
        let reload = node.reload();
        let refused = reload.problems.iter().any(|one| one.code == "document.secret");
        assert_eq!(refused, !taken, "{what}: {:?}", reload.problems);
        for path in ["/config", "/filters", "/upstreams", "/metrics", "/"] {
            let text = page(admin, path);
            assert!(!text.contains(secret), "{what}: {path}: {text}");
        }
        let config = page(admin, "/config");
        assert!(config.contains("test/guard"), "{what}: {config}");
        assert!(
            !taken || config.contains("redacted"),
            "{what}: that something is there is said: {config}"
        );
    }
}

#[test]
fn whatever_quotes_a_secret_is_shown_without_it() {
    let (secret, short) = ("hunter2-hunter2", "ab");
    let quoting = || format!("it is {secret}, and {short} stays");
    let (_, mut problems) = tamis_resources::parse("a.yaml", "kind: Gatway\n");
    problems[0].message = quoting();
    problems[0].help = Some(quoting());
    let refusal = tamis_proxy::Refused {
        code: "filter.configure".into(),
        rule: quoting(),
        set_by: "the filter".to_owned(),
        remedy: quoting(),
    };
    let slot = SlotStatus {
        attachment: "test/guard".to_owned(),
        filter: "tamis/jwt".to_owned(),
        version: "1.0.0".to_owned(),
        digest: "sha256:00".to_owned(),
        signers: Vec::new(),
        hooks: Vec::new(),
        phase: tamis_resources::plan::Phase::Authn,
        grant: serde_json::Value::Null,
        state: tamis_proxy::SlotState::Refused(refusal),
        detail: Some(quoting()),
    };
    let secrets = vec![secret.to_owned(), short.to_owned()];
    let staged = StageResult {
        slots: vec![slot],
        secrets,
        ..StageResult::nothing(problems, vec![quoting(), quoting()])
    };
    let StageResult { problems, notes, slots, .. } = staged.redacted();
    let refusal = slots[0].state.refusal().unwrap();
    let texts = [&problems[0].message, problems[0].help.as_ref().unwrap(), &notes[0], &notes[1]];
    let texts = texts.into_iter().chain([&refusal.rule, &refusal.remedy]);
    for text in texts.chain(&slots[0].detail) {
        assert_eq!(text, "it is (redacted), and ab stays");
    }
}
