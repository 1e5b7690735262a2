//! The proxies that a folder declares, and its problems.

use super::*;
use std::path::Path;
use tempfile::TempDir;

fn run_on(files: &[(&str, &str)], node: Option<&str>) -> Result<ExitCode> {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let node = node.map(|node| node.parse().unwrap());
    let folder = folder.path().to_owned();
    let (store, live, at) = (vec![], false, RegistryAccess::default());
    run(&Arguments { folder, node, store, live, at }, Output::Json)
}

const SERVICE: &str = "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
    spec: { ports: [{ port: 80, protocol: http }], endpoints: [{ address: 127.0.0.1:9 }] }\n";

#[test]
fn sound_folders_pass_and_others_fail() {
    let code = |files: &[(&str, &str)]| format!("{:?}", run_on(files, None).unwrap());
    let (pass, fail) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::FAILURE));
    assert_eq!(code(&[("a.yaml", SERVICE)]), pass);
    assert_eq!(code(&[("a.yaml", SERVICE), ("b.yaml", "kind: [\n")]), fail);
    assert_eq!(code(&[("a.yaml", &SERVICE.replace("ports", "prts"))]), fail);
    for unread in ["b.json", "b", "b.yml.bak", "b.yaml~"] {
        assert_eq!(code(&[("a.yaml", SERVICE), (unread, SERVICE)]), fail, "{unread}");
        assert_eq!(code(&[(unread, SERVICE)]), fail, "{unread} alone");
    }
    assert_eq!(code(&[("a.yaml", SERVICE), (".b.yml.bak", SERVICE)]), pass);
}

#[test]
fn a_guard_in_the_wrong_namespace_and_a_protection_with_nothing_behind_it_fail() {
    let fail = format!("{:?}", ExitCode::FAILURE);
    let guard = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: g, namespace: tset }\n\
        spec: { targetRefs: [{ kind: Service, name: app }], filter: a/b, phase: authn, order: 1 }\n";
    for (name, text) in [
        ("g.yaml", guard.to_owned()),
        ("a.yaml", SERVICE.replace("spec: {", "spec: { identity: ,")),
    ] {
        let found = run_on(&[("a.yaml", SERVICE), (name, &text)], None).unwrap();
        assert_eq!(format!("{found:?}"), fail, "{name}");
    }
}

#[test]
fn a_folder_without_documents_is_a_mistake_and_not_sound() {
    let said = format!("{:#}", run_on(&[("README.md", "hello")], None).unwrap_err());
    assert!(said.contains("has no documents"), "{said}");
}

#[test]
fn every_gateway_and_every_endpoint_with_a_sidecar_is_a_proxy() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let read = DocumentPlaces::folder(&source).read().unwrap();
    let nodes: Vec<String> = nodes(&read.documents).iter().map(ToString::to_string).collect();
    for node in [
        "gateway:shop/edge",
        "sidecar:shop/payments/0",
        "sidecar:shop/payments/1",
        "sidecar:shop/catalog/0",
        "sidecar:shop/stock/0",
    ] {
        assert!(nodes.contains(&node.to_owned()), "{node} in {nodes:?}");
    }
    assert_eq!(nodes.len(), 6);
}

#[test]
fn a_problem_shows_its_file_line_and_way_out() {
    let (_, problems) =
        tamis_resources::parse("mesh.yaml", &SERVICE.replace("endpoints", "endpoint"));
    let text = render(&problems[0]);
    assert!(text.contains("mesh.yaml:4:") && text.contains("endpoints"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where nobody sees them");
}

#[test]
fn what_is_not_pinned_has_the_way_out_that_works_in_a_folder() {
    let attached = |filter: &str| {
        format!(
            "{SERVICE}---\nkind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: NAME, namespace: SPACE }}\nspec: {{ world: authorizer }}\n\
             ---\nkind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a, namespace: test }}\nspec: {{ filter: SPACE/NAME }}\n\
             ---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a, namespace: test }}\n\
             spec: {{ targetRefs: [{{ kind: Mesh }}], filter: SPACE/NAME, phase: authn, order: 1 }}\n"
        )
        .replace("SPACE", filter.split_once('/').unwrap().0)
        .replace("NAME", filter.split_once('/').unwrap().1)
    };
    let trust = "---\nkind: TrustPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a, namespace: test }\n\
        spec: { namespaces: ['*'], threshold: 1, keys: [{ name: k, publicKeyFile: .tamis/keys/local-dev.pub }] }\n";
    let folder = TempDir::new().unwrap();
    let prepare = format!("`tamis up {} --prepare`", folder.path().display());
    let lock = format!("--pin {}/.tamis/filters.lock.yaml", folder.path().display());
    for (filter, trust, way) in [
        ("tamis/jwt", trust, &prepare),
        ("tamis/jwt", "", &prepare),
        ("acme/own", trust, &lock),
        ("acme/own", "", &lock),
    ] {
        let (documents, wrong) = tamis_resources::parse("a.yaml", &(attached(filter) + trust));
        assert!(wrong.is_empty(), "{wrong:?}");
        let missing = |one: &&Problem| one.code == "pin.missing";
        // What every reader of the folder says names a command that needs no registry ...
        let node = "gateway:test/edge".parse().unwrap();
        let gateway = "---\nkind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge, namespace: test }\nspec: { listeners: [{ name: a, port: 1, protocol: HTTP }] }\n";
        let (with_gateway, _) = tamis_resources::parse("a.yaml", &(attached(filter) + gateway));
        let folded = fold(&with_gateway, &node, &|_| Ok(Vec::new()));
        let found = folded.problems.iter().find(missing).unwrap();
        let help = found.help.as_deref().unwrap();
        assert!(help.starts_with("in a folder, `tamis filter sign COMPONENT"), "{help}");
        // ... and what `check` says names this folder and the command for this filter.
        let mut problems = problems(&with_gateway, folder.path());
        let prepare = Preparation::of(&documents, folder.path()).unwrap();
        prepare.advise(&mut problems);
        let found = problems.iter().find(missing).unwrap();
        assert!(found.message.contains(filter), "{}", found.message);
        let help = found.help.as_deref().unwrap();
        assert!(help.contains(way.as_str()), "{filter}: {help}");
    }
}

#[test]
fn routes_that_no_router_reads_are_reported() {
    let gateway = "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge }\n\
        spec: { listeners: [{ name: http, port: 8080, protocol: HTTP }] }\n";
    let route = "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: all }\n\
        spec: { parentRefs: [{ name: edge }], rules: [{ backendRefs: [{ name: app, port: 80 }] }] }\n";
    let filter = |world: &str| {
        format!(
            "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: it, namespace: acme }}\n\
             spec: {{ world: {world} }}\n"
        )
    };
    let attached = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: it }\n\
        spec: { targetRefs: [{ kind: Mesh }], filter: acme/it, phase: traffic, order: 1 }\n";
    let (router, guard) = (filter("route-policy"), filter("authorizer"));
    for (texts, reported) in [
        (vec![gateway], false),
        (vec![route], false),
        (vec![gateway, route], true),
        (vec![gateway, route, &router], true),
        (vec![gateway, route, &guard, attached], true),
        (vec![gateway, route, &router, attached], false),
        (vec![gateway, route, attached], false),
    ] {
        let text = texts.join("---\n");
        let (documents, problems) = tamis_resources::parse("a.yaml", &text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(unrouted(&documents).is_some(), reported, "{text}");
    }
}

/// A sound mesh in which documents of each kind refer to others.
const MESH: &str = "\
kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
spec: { ports: [{ port: 80, protocol: http }], endpoints: [{ address: 127.0.0.1:9 }] }\n---\n\
kind: UpstreamPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
spec: { targetRefs: [{ kind: Service, name: app }] }\n---\n\
kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge, namespace: test }\n\
spec: { listeners: [{ name: http, port: 8080, protocol: HTTP }] }\n---\n\
kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: all, namespace: test }\n\
spec: { parentRefs: [{ name: edge }], rules: [{ backendRefs: [{ name: app, port: 80 }] }] }\n---\n\
kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: it, namespace: acme }\n\
spec: { world: authorizer }\n---\n\
kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: it, namespace: security }\n\
spec: { filter: acme/it, imports: { http-client: { services: [test/app] } } }\n---\n\
kind: FiltersLock\napiVersion: tamis.dev/v1alpha1\nfilters: [{ service: \"*\", filter: acme/it, version: 1.0.0, digest: DIGEST }]\n---\n\
kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: route, namespace: test }\n\
spec: { targetRefs: [{ kind: HTTPRoute, name: all }], filter: acme/it, phase: authn, order: 1 }\n---\n\
kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: edge, namespace: test }\n\
spec: { targetRefs: [{ kind: Gateway, name: edge }], filter: acme/it, phase: transform, order: 2 }\n---\n\
kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
spec: { targetRefs: [{ kind: Service, name: app }], filter: acme/it, phase: transform, order: 3 }\n";

#[test]
fn that_others_do_not_find_a_document_with_a_fault_is_no_problem_of_its_own() {
    let mesh = MESH.replace("DIGEST", &format!("sha256:{}", "0".repeat(64)));
    let folder = TempDir::new().unwrap();
    let codes = |text: &str, drop: bool| {
        let read = tamis_resources::read("mesh.yaml", text);
        let mut problems = read.problems;
        between(&read.documents, &nodes(&read.documents), folder.path(), &mut problems);
        if drop {
            drop_consequences(&mut problems, &read.faulty);
        }
        problems.into_iter().map(|one| format!("{}: {}", one.code, one.message)).collect()
    };
    let sound: Vec<String> = codes(&mesh, true);
    assert!(sound.is_empty(), "{sound:#?}");
    for (kind, sound, faulty, consequence) in [
        ("Filter", "world: authorizer", "world: authoriser", "there is no Filter acme/it"),
        ("Filter", "kind: Filter\n", "kind: Fliter\n", "there is no Filter acme/it"),
        ("Service", "protocol: http }", "protocl: http }", "there is no Service test/app"),
        ("Gateway", "protocol: HTTP", "protocl: HTTP", "there is no Gateway test/edge"),
        ("HTTPRoute", "port: 80 }] }] }", "prt: 80 }] }] }", "there is no HTTPRoute test/all"),
        ("Grant", "imports:", "improts:", "no Grant exists for acme/it"),
        ("FiltersLock", "version: 1.0.0", "verison: 1.0.0", "acme/it is not pinned"),
    ] {
        let text = mesh.replacen(sound, faulty, 1);
        assert_ne!(text, mesh, "{kind}");
        let all: Vec<String> = codes(&text, false);
        assert!(all.iter().any(|one| one.contains(consequence)), "{kind}: {all:#?}");
        let told: Vec<String> = codes(&text, true);
        assert!(!told.is_empty(), "{kind}: nothing is reported");
        assert!(
            told.iter().all(|one| one.starts_with("field.") || one.starts_with("document.")),
            "{kind}: {told:#?}"
        );
    }
    // A document that is nowhere, with or without a fault, is missed.
    let gone: Vec<String> =
        codes(&mesh.replace("filter: acme/it, phase", "filter: acme/that, phase"), true);
    assert!(gone.iter().any(|one| one.contains("there is no Filter acme/that")), "{gone:#?}");
}
