//! What is sent of folders with problems.

use super::*;
use tempfile::TempDir;

fn service(name: &str) -> String {
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec:\n  ports: [{{ port: 80, protocol: http }}]\n"
    )
}

const LOCK: &str = "kind: FiltersLock\napiVersion: tamis.dev/v1alpha1\nfilters:\n  \
    - { service: \"*\", filter: acme/a, version: 1.0.0, digest: \"sha256:0000000000000000000000000000000000000000000000000000000000000000\" }\n";

fn folder(files: &[(&str, String)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn gathered(files: &[(&str, String)]) -> Gathered {
    gather(folder(files).path(), Ports { offset: 0, apps: true }).unwrap()
}

fn keys(gathered: &Gathered) -> Vec<String> {
    gathered.documents.iter().map(key).collect()
}

/// What is sent parses, and gives the documents that it claims to have.
fn sound(gathered: &Gathered) {
    let mut sent = Vec::new();
    for SourceText { source, text } in &gathered.sources {
        let (documents, problems) = parse(source, text);
        assert!(problems.is_empty(), "{text}: {problems:?}");
        sent.extend(documents.iter().map(key));
    }
    assert_eq!(sent, keys(gathered));
}

#[test]
fn a_sound_file_is_sent_byte_for_byte_and_a_lock_is_pins() {
    let text = format!("# shop\n{}--- # b\n{}", service("a"), service("b"));
    let all = gathered(&[("a.yaml", text.clone()), ("lock.yaml", LOCK.to_owned())]);
    assert_eq!(all.sources, [SourceText { source: "a.yaml".into(), text }]);
    assert_eq!(all.pins().next().unwrap().1.filter, "acme/a");
    assert!(all.wrongs.is_empty() && all.broken.is_empty(), "{:?}", all.wrongs);
}

#[test]
fn a_document_that_cannot_be_used_keeps_no_other_back_and_has_its_place() {
    let bad = service("bad").replace("ports", "prots");
    let text = format!("{}---\n{bad}---\n{}", service("a"), service("b"));
    let all = gathered(&[("a.yaml", text), ("c.yaml", service("c"))]);
    assert_eq!(keys(&all), ["Service/shop/a", "Service/shop/b", "Service/shop/c"]);
    sound(&all);
    assert!(all.wrongs[0].line.starts_with("a.yaml:11:3: "), "{:?}", all.wrongs);
    assert!(all.is_broken("a.yaml") && !all.is_broken("c.yaml"));
    // Places in what is sent are the same as in the file.
    let (documents, _) = parse("a.yaml", &all.sources[0].text);
    assert_eq!(documents[1].place("/kind", "").line, 13);
}

#[test]
fn yaml_that_breaks_off_loses_its_own_document_alone() {
    let all = gathered(&[("a.yaml", format!("kind: [\n---\n{}", service("b")))]);
    assert_eq!(keys(&all), ["Service/shop/b"]);
    sound(&all);
    assert!(all.is_broken("a.yaml"));
}

#[test]
fn of_documents_that_are_there_twice_the_first_is_sent() {
    let all = gathered(&[("a.yaml", service("a")), ("b.yaml", service("a") + "---\n" + LOCK)]);
    assert_eq!(keys(&all), ["Service/shop/a"]);
    sound(&all);
    assert_eq!(
        all.wrongs[0].line,
        "b.yaml:1: Service/shop/a exists twice, first in a.yaml; keep one of them"
    );
    assert_eq!(all.pins().count(), 1, "a lock counts wherever it stands");
}

#[test]
fn what_is_wrong_between_documents_is_told_and_sent_all_the_same() {
    let route = "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: all, namespace: shop }\n\
        spec:\n  parentRefs: [{ kind: Gateway, name: edge }]\n  rules: [{ backendRefs: [{ name: gone, port: 80 }] }]\n";
    let gateway = "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge, namespace: shop }\n\
        spec:\n  listeners: [{ name: http, port: 8080, protocol: HTTP }]\n";
    let all = gathered(&[("a.yaml", format!("{gateway}---\n{route}"))]);
    assert_eq!(all.documents.len(), 2);
    assert!(all.wrongs.iter().any(|one| one.line.contains("gone")), "{:?}", all.wrongs);
    assert!(all.broken.is_empty());
}

#[test]
fn a_file_that_is_no_text_is_told_and_is_as_good_as_broken() {
    let folder = folder(&[("a.yaml", service("a"))]);
    std::fs::write(folder.path().join("b.yaml"), b"\xff\xfe").unwrap();
    let all = gather(folder.path(), Ports { offset: 0, apps: true }).unwrap();
    assert_eq!(keys(&all), ["Service/shop/a"]);
    assert!(all.is_broken("b.yaml") && all.wrongs[0].line.starts_with("b.yaml: "), "{all:?}");
}
