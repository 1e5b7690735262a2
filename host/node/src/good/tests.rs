//! Good documents outlive the process, and unknown content keeps a proxy from starting.

use super::*;
use crate::NodeError;
use crate::node::tests::{folder, gateway, service, start};
use std::os::unix::fs::PermissionsExt as _;
use tamis_proxy::SlotOccupant;
use tempfile::TempDir;

const GUARD: &str = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: guard, namespace: test }\n\
    spec:\n  targetRefs: [{ kind: Gateway, name: edge }]\n  filter: tamis/jwt\n  phase: authn\n  order: 10\n";

fn write(folder: &TempDir, name: &str, text: &str) {
    fs::write(folder.path().join(name), text).unwrap();
}

/// Attachments of all chains that refuse exchanges.
fn closed(node: &crate::Node) -> Vec<String> {
    let generation = node.proxy().generation();
    let refused =
        generation.filters.iter().filter(|one| matches!(one.occupant, SlotOccupant::Refused(_)));
    refused.map(|one| one.name.clone()).collect()
}

#[test]
fn a_part_that_cannot_be_read_and_was_never_known_keeps_the_proxy_from_starting() {
    let rows: &[(&str, &[u8])] = &[
        ("an unclosed list", b"kind: FilterAttachment\nspec: { phase: [authn }\n"),
        ("a tab", b"kind: FilterAttachment\nspec:\n\tphase: authn\n"),
        ("no text", &[b'a', 0xff]),
        ("a key twice", b"kind: FilterAttachment\nkind: FilterAttachment\n"),
        ("a List", b"kind: List\napiVersion: v1\nitems: []\n"),
        ("a list of documents", b"- kind: FilterAttachment\n"),
        ("a foreign kind", b"kind: ConfigMap\napiVersion: v1\nmetadata: { name: a }\ndata: {}\n"),
        ("a text", b"FilterAttachment\n"),
        ("a tag", b"kind: !x FilterAttachment\n"),
        ("a trust policy that cannot be used", b"kind: TrustPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\nspec: { threshold: 0 }\n"),
        ("a grant that cannot be used", b"kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\nspec: { filter: acme/a, signdBy: { keys: [a] } }\n"),
    ];
    for (name, text) in rows {
        let (folder, _) = folder();
        fs::write(folder.path().join("guard.yaml"), text).unwrap();
        match start(folder.path()) {
            Err(NodeError::Unready { files, why, .. }) => {
                assert_eq!(files, ["guard.yaml"], "{name}");
                assert!(why.contains("guard.yaml:") || why.contains("not UTF-8"), "{name}: {why}");
                let ways = ["write each document for itself", "move it elsewhere"];
                let is_known = ["no text", "an unclosed list", "a tab", "a key twice", "a tag"];
                let told = ways.iter().any(|way| why.contains(way));
                assert!(
                    told || is_known.contains(name) || name.ends_with("cannot be used"),
                    "{name}: {why}"
                );
            }
            other => panic!("{name}: {:?}", other.map(|(_, reload)| reload)),
        }
    }
}

#[test]
fn a_guard_that_may_stand_in_the_wrong_namespace_keeps_the_proxy_from_its_first_start() {
    let rows = [
        (
            "a mistyped namespace",
            GUARD.replace("namespace: test", "namespace: tset"),
            "Gateway test/edge exists",
        ),
        ("no namespace", GUARD.replace(", namespace: test", ""), "Gateway test/edge exists"),
        (
            "a mistyped namespace, and broken",
            GUARD.replace("namespace: test", "namespace: tset").replace("order: 10", "order: ten"),
            "Gateway test/edge exists",
        ),
    ];
    for (name, text, says) in rows {
        let (folder, _) = folder();
        write(&folder, "guard.yaml", &text);
        match start(folder.path()) {
            Err(NodeError::Stray { why, .. }) => {
                assert!(why.starts_with("guard.yaml:5:") && why.contains(says), "{name}: {why}");
            }
            other => panic!("{name}: {:?}", other.map(|(_, reload)| reload)),
        }
        write(&folder, "guard.yaml", GUARD);
        let (node, _) = start(folder.path()).unwrap();
        assert_eq!(closed(&node), ["test/guard"], "{name}");
        // Beside what runs it is told, and opens nothing: so it keeps no restart either.
        write(&folder, "other.yaml", &text.replace("name: guard", "name: other"));
        let reload = node.reload();
        assert!(!reload.problems.is_empty(), "{name}");
        assert!(closed(&node).contains(&"test/guard".to_owned()), "{name}");
        node.shutdown(std::time::Duration::ZERO);
    }
}

#[test]
fn a_guard_of_an_owner_keeps_nobodys_proxy_from_starting_and_closes_its_own_namespace() {
    let (folder, _) = folder();
    let shop = GUARD.replace("namespace: test", "namespace: shop");
    let theirs = service("shop").replace("namespace: test", "namespace: shop");
    assert!(theirs.contains("namespace: shop"));
    for (name, text, own) in [
        (
            "of a kind that is not there",
            GUARD.replace("Gateway, name: edge", "GRPCRoute, name: c"),
            true,
        ),
        ("of a name that is not there", GUARD.replace("name: edge", "name: egde"), true),
        ("of another owner, by its name", shop.clone(), false),
        ("of another owner, broken", shop.replace("order: 10", "order: ten"), false),
    ] {
        write(&folder, "shop.yaml", &theirs);
        write(&folder, "guard.yaml", &text);
        let (node, reload) = start(folder.path()).unwrap();
        assert_eq!(!closed(&node).is_empty(), own, "{name}");
        assert!(!reload.problems.is_empty(), "{name}");
        node.shutdown(std::time::Duration::ZERO);
        fs::remove_dir_all(folder.path().join(".tamis")).unwrap();
    }
}

#[test]
fn a_guard_that_stands_in_the_wrong_namespace_while_everything_runs_keeps_no_restart() {
    let (folder, _) = folder();
    let (node, _) = start(folder.path()).unwrap();
    let stray = GUARD.replace("namespace: test", "namespace: tset");
    write(&folder, "guard.yaml", &stray);
    let told = |reload: &crate::Reload| {
        reload
            .problems
            .iter()
            .any(|one| one.help.as_deref().unwrap_or_default().contains("no proxy starts"))
    };
    assert!(told(&node.reload()));
    node.shutdown(std::time::Duration::ZERO);
    let (node, reload) = start(folder.path()).unwrap();
    assert!(told(&reload), "as before");
    node.shutdown(std::time::Duration::ZERO);
    // Changed since, nobody knows what was meant.
    write(&folder, "guard.yaml", &stray.replace("order: 10", "order: 11"));
    assert!(matches!(start(folder.path()), Err(NodeError::Stray { .. })));
}

#[test]
fn a_folder_of_guards_behind_a_link_keeps_the_proxy_from_starting_while_nothing_is_there() {
    for (name, to) in [("guards", "/nonexistent/guards"), ("loop", "loop"), ("g", "edge.yaml/g")] {
        let (folder, _) = folder();
        std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        match start(folder.path()) {
            Err(NodeError::Unready { files, .. }) => assert_eq!(files, [name]),
            other => panic!("{name}: {:?}", other.map(|(_, reload)| reload)),
        }
    }
    // What was in force from it stays so while it is away, over a restart too.
    let (folder, _) = folder();
    let guards = TempDir::new().unwrap();
    write(&guards, "guard.yaml", GUARD);
    let link = folder.path().join("guards");
    std::os::unix::fs::symlink(guards.path(), &link).unwrap();
    let (node, _) = start(folder.path()).unwrap();
    assert_eq!(closed(&node), ["test/guard"]);
    drop(guards);
    node.reload();
    assert_eq!(closed(&node), ["test/guard"]);
    node.shutdown(std::time::Duration::ZERO);
    let (node, _) = start(folder.path()).unwrap();
    assert_eq!(closed(&node), ["test/guard"]);
    node.shutdown(std::time::Duration::ZERO);
}

#[test]
fn the_last_good_form_of_a_document_outlives_the_process() {
    let broken = [
        GUARD.replace("phase: authn", "phase: [authn"),
        GUARD.replace("phase: authn", "phase: auth"),
        GUARD.replace("order: 10", "order: ten"),
        GUARD.replace("filter: tamis/jwt", "filtr: tamis/jwt"),
        String::from_utf8_lossy(&[0]).into_owned(),
    ];
    for text in broken {
        let (folder, _) = folder();
        write(&folder, "guard.yaml", GUARD);
        let (node, _) = start(folder.path()).unwrap();
        assert_eq!(closed(&node), ["test/guard"], "it has no filter, so it refuses");
        let before = node.proxy().generation().config.clone();
        write(&folder, "guard.yaml", &text);
        node.reload();
        assert_eq!(node.proxy().generation().config, before, "{text}: warm");
        node.shutdown(std::time::Duration::ZERO);
        let (node, reload) = start(folder.path()).unwrap();
        assert_eq!(node.proxy().generation().config, before, "{text}: after a restart");
        assert!(!reload.problems.is_empty(), "and it is told");
        node.shutdown(std::time::Duration::ZERO);
    }
}

#[test]
fn a_guard_that_was_never_good_closes_what_it_was_for() {
    let (folder, _) = folder();
    write(&folder, "guard.yaml", &GUARD.replace("order: 10", "order: ten"));
    let (node, _) = start(folder.path()).unwrap();
    assert_eq!(closed(&node), ["test/guard"]);
    write(
        &folder,
        "more.yaml",
        &GUARD.replace("name: guard", "name: more").replace("authn", "auth"),
    );
    node.reload();
    assert_eq!(closed(&node), ["test/guard", "test/more"], "warm it is no other");
}

#[test]
fn a_guard_that_moves_into_a_file_that_cannot_be_read_stays() {
    let (folder, _) = folder();
    write(&folder, "guard.yaml", GUARD);
    let (node, _) = start(folder.path()).unwrap();
    fs::remove_file(folder.path().join("guard.yaml")).unwrap();
    write(&folder, "moved.yaml", &GUARD.replace("phase: authn", "phase: [authn"));
    node.reload();
    assert_eq!(closed(&node), ["test/guard"]);
    fs::remove_file(folder.path().join("moved.yaml")).unwrap();
    node.reload();
    assert_eq!(closed(&node), [""; 0], "what is removed from a folder that can be read is gone");
}

const ROUTE: &str = "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: r, namespace: test }\n\
    spec: { parentRefs: [{ name: edge }], rules: [{ matches: [{ path: { value: /a } }], backendRefs: [{ name: app, port: 80 }] }] }\n";

#[test]
fn while_a_part_cannot_be_read_nothing_new_is_served_and_all_else_changes() {
    let (folder, _) = folder();
    let edge = fs::read_to_string(folder.path().join("edge.yaml")).unwrap();
    write(&folder, "app.yaml", &service("app"));
    write(&folder, "route.yaml", ROUTE);
    let (node, _) = start(folder.path()).unwrap();
    node.shutdown(std::time::Duration::ZERO);
    let name = NodeName::Gateway { key: "test/edge".to_owned() };
    let more = |text: &str| text.replace("name: r,", "name: more,");
    // What changes in which file, and whether it may be taken before the guard beside it can be read.
    let rows = [
        ("a new route", "more.yaml", more(ROUTE), false),
        ("a new path of a route", "route.yaml", ROUTE.replace("/a", "/b"), false),
        (
            "a route for all paths",
            "route.yaml",
            ROUTE.replace("matches: [{ path: { value: /a } }], ", ""),
            false,
        ),
        (
            "a route at another host",
            "route.yaml",
            ROUTE.replace("rules:", "hostnames: [a.b], rules:"),
            false,
        ),
        ("a new service", "more.yaml", service("more"), false),
        ("a changed gateway", "edge.yaml", edge.replace("name: http", "name: other"), false),
        ("another rewrite", "route.yaml", ROUTE.replace("backendRefs:", "filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: /admin } } }], backendRefs:"), false),
        ("another condition", "route.yaml", ROUTE.replace("path: { value: /a }", "path: { value: /a }, method: GET"), false),
        ("a weight", "route.yaml", ROUTE.replace("port: 80 }", "port: 80, weight: 2 }"), false),
        ("another port", "app.yaml", service("app").replace("[{ port: 80,", "[{ port: 81,"), false),
        ("an endpoint", "app.yaml", service("app").replace("127.0.0.1:9 ", "127.0.0.1:10 "), true),
        ("a guard", "more.yaml", GUARD.to_owned(), true),
    ];
    let broken = GUARD.replace("phase: authn", "\tphase: authn");
    let known = format!("{}---\n{broken}", service("app"));
    for (row, file, text, taken) in rows {
        for (guard, content) in [("guard.yaml", broken.as_str()), ("app.yaml", known.as_str())] {
            if file == guard {
                continue;
            }
            let before = fs::read(folder.path().join(file)).ok();
            let guard_before = fs::read(folder.path().join(guard)).ok();
            write(&folder, guard, content);
            write(&folder, file, &text);
            let read = crate::DocumentPlaces::folder(folder.path()).read().unwrap();
            let (good, _) = LastGoodDocuments::open(folder.path(), &name);
            let mut notes = Vec::new();
            let all = good.complete(read, false, &mut notes).unwrap().documents;
            let new = all.iter().any(|one| one.source == file && one.text().trim() == text.trim());
            assert_eq!(new, taken, "{row}, {guard}");
            let waits =
                notes.iter().any(|one| one.contains(&format!("waits until {guard} can be read")));
            assert_eq!(waits, !taken, "{row}: {notes:?}");
            // What was there before is there.
            assert!(
                all.iter().filter(|one| one.kind() != "FilterAttachment").count() >= 3,
                "{row}"
            );
            for (file, before) in [(file, before), (guard, guard_before)] {
                match before {
                    Some(before) => fs::write(folder.path().join(file), before).unwrap(),
                    None => fs::remove_file(folder.path().join(file)).unwrap(),
                }
            }
        }
    }
}

#[test]
fn a_file_that_was_never_known_whole_is_unknown_at_a_restart_too() {
    let broken =
        format!("{}---\n{}", service("app"), GUARD.replace("phase: authn", "\tphase: authn"));
    let (folder, _) = folder();
    let (node, _) = start(folder.path()).unwrap();
    write(&folder, "app.yaml", &broken);
    // The service waits, and after a second look too: what was read of its file is not all there is in it.
    for _ in 0..2 {
        let notes = node.reload().notes;
        assert!(notes.iter().any(|one| one.contains("Service test/app waits")), "{notes:?}");
    }
    write(&folder, "app.yaml", &format!("{GUARD}---\n{}", broken.split_once("---\n").unwrap().1));
    node.reload();
    node.reload();
    node.shutdown(std::time::Duration::ZERO);
    match start(folder.path()) {
        Err(NodeError::Unready { files, .. }) => assert_eq!(files, ["app.yaml"]),
        other => panic!("{:?}", other.map(|(_, reload)| reload)),
    }
}

#[test]
fn what_was_stored_and_is_no_document_any_more_is_not_known() {
    let (folder, _) = folder();
    write(&folder, "guard.yaml", GUARD);
    let (node, _) = start(folder.path()).unwrap();
    node.shutdown(std::time::Duration::ZERO);
    let kept = folder.path().join(".tamis/last-good/gateway-test-edge.json");
    let text = fs::read_to_string(&kept).unwrap();
    write(&folder, "guard.yaml", "kind: [\n");
    // Known, it stays.
    let (node, _) = start(folder.path()).unwrap();
    assert_eq!(closed(&node), ["test/guard"]);
    node.shutdown(std::time::Duration::ZERO);
    // As if another release had accepted what this one does not, or the text were damaged.
    for (from, to) in [
        ("phase: authn", "phase: later"),
        ("kind: FilterAttachment", "kind: Guard"),
        ("spec:", "spec: ["),
    ] {
        assert!(text.contains(from));
        fs::write(&kept, text.replace(from, to)).unwrap();
        match start(folder.path()) {
            Err(NodeError::Unready { files, .. }) => assert_eq!(files, ["guard.yaml"], "{to}"),
            other => panic!("{to}: {:?}", other.map(|(_, reload)| reload)),
        }
    }
}

#[test]
fn what_is_kept_is_private_and_what_others_may_write_is_not_believed() {
    let (folder, _) = folder();
    write(&folder, "app.yaml", &service("app"));
    let (node, _) = start(folder.path()).unwrap();
    node.shutdown(std::time::Duration::ZERO);
    let kept = folder.path().join(".tamis/last-good/gateway-test-edge.json");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
    write(&folder, "app.yaml", "kind: [\n");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(start(folder.path()), Err(NodeError::Unready { .. })));
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    let (node, _) = start(folder.path()).unwrap();
    node.shutdown(std::time::Duration::ZERO);
    let elsewhere = folder.path().join("kept.json");
    fs::rename(&kept, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &kept).unwrap();
    assert!(matches!(start(folder.path()), Err(NodeError::Unready { .. })));
}

#[test]
fn each_proxy_of_a_folder_has_a_file_of_its_own_and_finds_that_of_an_earlier_release() {
    let names = ["a/b-c", "a-b/c", "a/b", "a/b-c-0", "a-b/c-0", "a-b-c/d", "a/b-c-d", "a-b/c-d"];
    let gateways = names.map(|key| NodeName::Gateway { key: key.to_owned() });
    let sidecars = names.iter().flat_map(|key| {
        [0, 1, 10].map(|index| NodeName::Sidecar { key: (*key).to_owned(), index })
    });
    let all: Vec<String> =
        gateways.into_iter().chain(sidecars).map(|node| file_name(&node)).collect();
    let different: BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len(), "{all:?}");
    assert!(all.contains(&"gateway-a-b-c".to_owned()), "as before: {all:?}");

    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join(".tamis/last-good");
    fs::create_dir_all(&kept).unwrap();
    let former = kept.join("gateway-a-b-c.json");
    fs::write(
        &former,
        r#"{"files":{},"held":[["Service","a/b",{"source":"a.yaml","digest":"d"}]]}"#,
    )
    .unwrap();
    fs::set_permissions(&former, fs::Permissions::from_mode(0o600)).unwrap();
    for key in ["a-b/c", "a/b-c"] {
        let node = NodeName::Gateway { key: key.to_owned() };
        let (good, note) = LastGoodDocuments::open(folder.path(), &node);
        assert_eq!((good.held.len(), note), (1, None), "{key}");
    }
}

#[test]
fn of_two_documents_of_one_name_the_one_in_force_stays_whatever_files_are_called() {
    for other in ["a.yaml", "z.yaml"] {
        let (folder, address) = folder();
        let (node, _) = start(folder.path()).unwrap();
        let before = node.proxy().generation().config.clone();
        let port = tamis_harness::ports::address().port();
        write(&folder, other, &gateway(port));
        for round in 0..20 {
            write(&folder, "app.yaml", &service(&format!("app-{round}")));
            let reload = node.reload();
            let twice =
                reload.problems.iter().find(|one| one.code == "document.duplicate").unwrap();
            assert_eq!((twice.place.source.as_str(), twice.also.len()), (other, 1));
            assert!(twice.message.contains("edge.yaml stays in force"), "{}", twice.message);
            let listeners = |config: &serde_json::Value| config["listeners"][0]["address"].clone();
            assert_eq!(listeners(&node.proxy().generation().config), listeners(&before));
        }
        node.shutdown(std::time::Duration::ZERO);
        // What a restart decides is decided here: a proxy is started only to see that it listens to that.
        let name = NodeName::Gateway { key: "test/edge".to_owned() };
        for round in 0..20 {
            let (mut good, note) = LastGoodDocuments::open(folder.path(), &name);
            assert_eq!(note, None);
            let read = crate::DocumentPlaces::folder(folder.path()).read().unwrap();
            let completed = good.complete(read, true, &mut Vec::new()).unwrap();
            let folded =
                tamis_resources::fold(&completed.documents, &name, &|_| Err(String::new()));
            let plan = folded.plan.unwrap();
            let stays = tamis_resources::plan::AddressPlan::Tcp(address.to_string());
            assert_eq!(plan.listeners[0].address, stays, "restart {round}");
            good.keep(&completed, &folded.statuses, &mut Vec::new());
        }
        let (node, _) = start(folder.path()).unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok(), "after a restart as well");
        node.shutdown(std::time::Duration::ZERO);
    }
}

#[test]
fn documents_are_kept_as_they_were_written() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let read = crate::DocumentPlaces::new(&shop, vec![shop.clone()]).read().unwrap();
    assert!(read.documents.len() > 10);
    for document in read.documents {
        let texts = vec![(document.line(), document.text().to_owned())];
        let (again, whole) = restored(&document.source, texts);
        assert!(whole && again.len() == 1, "{}", document.text());
        assert!(again[0].has_same_content(&document), "{}", document.text());
        assert_eq!(again[0].line(), document.line());
    }
}

#[test]
fn a_guard_that_moves_into_a_part_that_cannot_be_read_stays_wherever_it_was() {
    let (folder, _) = folder();
    write(&folder, "app.yaml", &service("app"));
    write(&folder, "guard.yaml", GUARD);
    let (node, _) = start(folder.path()).unwrap();
    node.shutdown(std::time::Duration::ZERO);
    let name = NodeName::Gateway { key: "test/edge".to_owned() };
    let guarded = || {
        let read = crate::DocumentPlaces::folder(folder.path()).read().unwrap();
        let (good, _) = LastGoodDocuments::open(folder.path(), &name);
        let all = good.complete(read, false, &mut Vec::new()).unwrap().documents;
        all.iter().any(|one| one.kind() == "FilterAttachment" && !one.is_stub())
    };
    assert!(guarded(), "as it was written");
    fs::remove_file(folder.path().join("guard.yaml")).unwrap();
    let moved =
        format!("{}---\n{}", service("app"), GUARD.replace("phase: authn", "\tphase: authn"));
    write(&folder, "app.yaml", &moved);
    assert!(guarded(), "it may be in the part that cannot be read");
    write(&folder, "app.yaml", &service("app"));
    assert!(!guarded(), "it is gone");
}

#[test]
fn a_file_that_lost_its_documents_guards_what_it_guarded_until_it_is_removed() {
    // What is left of the file, and whether a proxy that never saw it whole starts.
    for (what, left, starts) in [
        ("nothing, as on a full disk", "", false),
        ("blanks", " \n\t\r\n", false),
        ("a mark of the encoding", "\u{feff}\n", false),
        ("a comment", "# guards the admin pages\n", true),
        ("the beginning of a document", "---\n", true),
        ("comments between documents", "# one\n---\n# two\n", true),
    ] {
        let (place, _) = folder();
        write(&place, "guard.yaml", GUARD);
        let (node, _) = start(place.path()).unwrap();
        assert_eq!(closed(&node), ["test/guard"], "{what}");
        write(&place, "guard.yaml", left);
        for _ in 0..2 {
            let reload = node.reload();
            assert_eq!(closed(&node), ["test/guard"], "{what}");
            let told = format!("{reload:?}");
            assert!(told.contains("guard.yaml") && told.contains("remove"), "{what}: {told}");
        }
        node.shutdown(std::time::Duration::ZERO);
        let (node, _) = start(place.path()).unwrap();
        assert_eq!(closed(&node), ["test/guard"], "{what}, at a cold start");
        // Written again with less is what somebody wants, and so is a file that is gone.
        write(&place, "guard.yaml", &service("other"));
        node.reload();
        assert_eq!(closed(&node), [""; 0], "{what}");
        write(&place, "guard.yaml", GUARD);
        node.reload();
        write(&place, "guard.yaml", left);
        node.reload();
        assert_eq!(closed(&node), ["test/guard"], "{what}");
        fs::remove_file(place.path().join("guard.yaml")).unwrap();
        node.reload();
        assert_eq!(closed(&node), [""; 0], "{what}");
        node.shutdown(std::time::Duration::ZERO);
        // Nobody knows what it had.
        let (fresh, _) = folder();
        write(&fresh, "guard.yaml", left);
        match start(fresh.path()) {
            Err(NodeError::Unready { files, .. }) => {
                assert!(!starts, "{what}");
                assert_eq!(files, ["guard.yaml"], "{what}");
            }
            started => assert!(started.is_ok() && starts, "{what}"),
        }
    }
}

#[test]
fn a_folder_in_the_place_of_a_file_takes_no_guard_out_of_force_until_it_is_removed() {
    type Making = fn(&Path);
    let rows: [(&str, Making); 3] = [
        // A container runtime makes it of a file to mount that is missing.
        ("an empty one", |at| fs::create_dir(at).unwrap()),
        ("one with another document", |at| {
            fs::create_dir(at).unwrap();
            fs::write(at.join("other.yaml"), service("other")).unwrap();
        }),
        ("a link to an empty one", |at| {
            let to = at.with_file_name("elsewhere");
            fs::create_dir_all(&to).unwrap();
            std::os::unix::fs::symlink(to, at).unwrap();
        }),
    ];
    for (what, make) in rows {
        let (place, _) = folder();
        write(&place, "guard.yaml", GUARD);
        let (node, _) = start(place.path()).unwrap();
        assert_eq!(closed(&node), ["test/guard"], "{what}");
        let at = place.path().join("guard.yaml");
        fs::remove_file(&at).unwrap();
        make(&at);
        let told = format!("{:?}", node.reload());
        assert_eq!(closed(&node), ["test/guard"], "{what}");
        assert!(
            told.contains("guard.yaml") && told.contains("name of a document"),
            "{what}: {told}"
        );
        node.shutdown(std::time::Duration::ZERO);
        let (node, _) = start(place.path()).unwrap();
        assert_eq!(closed(&node), ["test/guard"], "{what}, at a cold start");
        if fs::symlink_metadata(&at).unwrap().is_dir() {
            fs::remove_dir_all(&at).unwrap();
        } else {
            fs::remove_file(&at).unwrap();
        }
        node.reload();
        assert_eq!(closed(&node), [""; 0], "{what}: it is removed");
    }
}
