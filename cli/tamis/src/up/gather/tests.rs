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

const PORTS: Ports = Ports { offset: 0, apps: true };

fn gathered(files: &[(&str, String)]) -> FolderDocuments {
    gathered_after(files, &[])
}

/// The texts of all documents in files that can be read.
fn texts(files: &[(&str, String)]) -> DocumentTexts {
    let parts = files.iter().flat_map(|(_, text)| parts(text));
    let documents = parts.flat_map(|part| tamis_resources::read("", &part.text).documents);
    documents.map(|one| (key(&one), one.text().to_owned())).collect()
}

/// With these documents in force, each from that file.
fn gathered_after(files: &[(&str, String)], known: &[(&str, &str)]) -> FolderDocuments {
    let known = known.iter().map(|(key, file)| ((*key).to_owned(), (*file).to_owned())).collect();
    gather(folder(files).path(), PORTS, &known, &texts(files)).unwrap()
}

fn keys(gathered: &FolderDocuments) -> Vec<String> {
    gathered.documents.iter().map(key).collect()
}

/// What is sent parses, and gives the documents that it claims to have.
fn sound(gathered: &FolderDocuments) {
    let (mut sent, mut stand_ins) = (Vec::new(), Vec::new());
    for SourceText { source, text } in &gathered.sources {
        let (documents, problems) = parse(source, text);
        assert!(problems.is_empty(), "{text}: {problems:?}");
        assert!(text.lines().count() > 0);
        sent.extend(documents.iter().filter(|one| !one.is_stub()).map(key));
        stand_ins.extend(documents.iter().filter(|one| one.is_stub()).map(key));
    }
    assert_eq!(sent, keys(gathered));
    assert_eq!(stand_ins, gathered.stand_ins.iter().map(key).collect::<Vec<_>>());
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
fn of_documents_that_are_there_twice_the_one_in_force_is_sent_and_else_none() {
    let files = |first: &str, second: &str| {
        [(first.to_owned(), service("a")), (second.to_owned(), service("a") + "---\n" + LOCK)]
    };
    for (first, second) in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")] {
        let files = files(first, second);
        let files: Vec<(&str, String)> =
            files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        let all = gathered_after(&files, &[("Service/shop/a", first)]);
        assert_eq!(keys(&all), ["Service/shop/a"]);
        assert_eq!(all.documents[0].source, first, "whatever the files are called");
        sound(&all);
        assert_eq!(
            all.wrongs[0].line,
            format!(
                "{second}:1: Service/shop/a exists twice; the one of {first} stays in force; keep one of them"
            )
        );
        assert_eq!(all.pins().count(), 1, "a lock counts wherever it stands");
        let all = gathered(&files);
        assert!(keys(&all).is_empty() && all.held.contains("Service/shop/a"), "{all:?}");
        assert!(all.wrongs[0].line.contains("and neither counts"), "{:?}", all.wrongs);
    }
}

fn guard(name: &str, fields: &str) -> String {
    format!(
        "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec:\n  targetRefs: [{{ kind: Service, name: a }}]\n  filter: tamis/jwt\n  {fields}\n"
    )
}

#[test]
fn a_guard_that_cannot_be_used_and_never_was_is_sent_as_what_closes_its_targets() {
    let good = guard("g", "phase: authn\n  order: 10");
    let bad = guard("g", "phase: auth\n  order: 10");
    let (a, known) = (("a.yaml", service("a")), [("FilterAttachment/shop/g", "g.yaml")]);
    let stand_ins = |all: &FolderDocuments| all.stand_ins.iter().map(key).collect::<Vec<_>>();
    let twice = format!("{bad}---\n{bad}");
    let nameless = bad.replace("name: g, ", "");
    // A name, files, documents in force with their files, the number of those that stand in, whether one is held.
    type Row<'a> = (&'a str, Vec<(&'a str, String)>, &'a [(&'a str, &'a str)], usize, bool);
    let rows: &[Row<'_>] = &[
        ("in a file of its own", vec![a.clone(), ("g.yaml", bad.clone())], &[], 1, false),
        ("behind a sound one", vec![("a.yaml", service("a") + "---\n" + &bad)], &[], 1, false),
        (
            "before a sound one",
            vec![("a.yaml", format!("{bad}---\n{}", service("a")))],
            &[],
            1,
            false,
        ),
        (
            "on the line of dashes",
            vec![(
                "a.yaml",
                service("a")
                    + "--- { kind: FilterAttachment, metadata: { name: g, namespace: shop }, spec: { phase: x } }\n",
            )],
            &[],
            1,
            false,
        ),
        ("two of one name", vec![a.clone(), ("g.yaml", twice)], &[], 2, false),
        (
            "two without a name",
            vec![a.clone(), ("g.yaml", nameless.clone()), ("h.yaml", nameless)],
            &[],
            2,
            false,
        ),
        ("in force before", vec![a.clone(), ("g.yaml", bad.clone())], &known, 0, true),
        ("in force from another file", vec![a.clone(), ("h.yaml", bad.clone())], &known, 0, true),
        (
            "beside a good one",
            vec![a.clone(), ("g.yaml", good.clone()), ("h.yaml", bad.clone())],
            &[],
            0,
            true,
        ),
        (
            "a good one twice",
            vec![a.clone(), ("g.yaml", good.clone()), ("h.yaml", good.clone())],
            &[],
            2,
            true,
        ),
        (
            "a good one twice, one in force",
            vec![a.clone(), ("g.yaml", good.clone()), ("h.yaml", good.clone())],
            &known,
            1,
            true,
        ),
    ];
    for (name, files, known, closed, held) in rows {
        let all = gathered_after(files, known);
        assert!(keys(&all).contains(&"Service/shop/a".to_owned()), "{name}: {all:?}");
        assert_eq!(all.stand_ins.len(), *closed, "{name}: {:?}", stand_ins(&all));
        assert_eq!(all.held.contains("FilterAttachment/shop/g"), *held, "{name}");
        assert!(!all.wrongs.is_empty() && !all.broken.is_empty(), "{name}");
        sound(&all);
        for SourceText { source, text } in &all.sources {
            let written = files.iter().find(|(name, _)| name == source).unwrap();
            assert_eq!(text.lines().count(), written.1.lines().count(), "{name}: places stay");
        }
    }
}

#[test]
fn a_sound_document_is_sent_beside_a_broken_one_whatever_ends_the_lines() {
    let good = guard("g", "phase: authn\n  order: 10");
    let (broken, unknown) =
        (service("b").replace("protocol: http", "protocol: htp"), guard("u", "phase: x"));
    let texts = [
        format!("{good}---\n{broken}---\n{unknown}"),
        format!("{broken}---\n{good}---\n{unknown}"),
        format!("{unknown}---\n{broken}---\n{good}"),
    ];
    for text in texts {
        let dashes = text.matches("\n---\n").count();
        assert_eq!(dashes, 2);
        for (name, text) in [
            ("LF", text.clone()),
            ("CRLF", text.replace('\n', "\r\n")),
            ("CR", text.replace('\n', "\r")),
            ("CR around the dashes", text.replace("\n---\n", "\r---\r")),
            ("CR before the dashes", text.replace("\n---\n", "\r---\n")),
            ("CR after the dashes", text.replace("\n---\n", "\n---\r")),
            ("CR and CRLF", text.replace("\n---\n", "\r---\r\n")),
            ("other marks", text.replace("\n---\n", "\r...\r---\r")),
        ] {
            let all = gathered(&[("a.yaml", text.clone())]);
            assert_eq!(keys(&all), ["FilterAttachment/shop/g"], "{name}: {text:?}");
            let stand_ins: Vec<String> = all.stand_ins.iter().map(key).collect();
            assert_eq!(stand_ins, ["FilterAttachment/shop/u"], "{name}: {text:?}");
            sound(&all);
            assert!(all.is_broken("a.yaml") && !all.wrongs.is_empty(), "{name}");
            // Its problem is where it stands, whatever ends the lines.
            let lines = text.get(..text.find("htp").unwrap()).unwrap();
            let line = tamis_resources::lines(lines).count();
            let at = format!("a.yaml:{line}:");
            assert!(
                all.wrongs.iter().any(|one| one.line.starts_with(&at)),
                "{name}: {:?}",
                all.wrongs
            );
        }
    }
}

#[test]
fn of_a_part_with_several_documents_each_is_sent_or_what_stands_in_for_it() {
    let good = guard("g", "phase: authn\n  order: 10");
    let (broken, unknown) =
        (service("b").replace("protocol: http", "protocol: htp"), guard("u", "phase: x"));
    let other = service("other");
    let rows: [(String, &[&str], usize); 6] = [
        (format!("{good}---\n{broken}"), &["FilterAttachment/shop/g"], 0),
        (
            format!("{broken}---\n{good}---\n{other}"),
            &["FilterAttachment/shop/g", "Service/shop/other"],
            0,
        ),
        (format!("{unknown}---\n{good}"), &["FilterAttachment/shop/g"], 1),
        (format!("{unknown}---\n{unknown}"), &[], 2),
        (format!("{good}---\n{other}"), &["FilterAttachment/shop/g", "Service/shop/other"], 0),
        (format!("{good}---\n{LOCK}"), &["FilterAttachment/shop/g"], 0),
    ];
    for (text, sent, closed) in rows {
        let parsed = tamis_resources::read("a.yaml", &text);
        let part = Part { line: 1, text: text.clone() };
        let mut all = FolderDocuments::default();
        let (names, known) = (DocumentNames::of(&[]), DocumentSources::new());
        let (texts, unread) = (DocumentTexts::new(), String::new());
        let sender = Sender { names, known: &known, texts: &texts, unread };
        let own = sender.part(&mut all, "a.yaml", &part, &parsed);
        all.sources.push(SourceText { source: "a.yaml".to_owned(), text: own });
        assert_eq!(keys(&all), sent, "{text}");
        assert_eq!(all.stand_ins.len(), closed, "{text}");
        assert_eq!(all.locks.len(), usize::from(text.contains("FiltersLock")));
        sound(&all);
    }
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
    let files = [("a.yaml", service("a"))];
    let folder = folder(&files);
    std::fs::write(folder.path().join("b.yaml"), b"\xff\xfe").unwrap();
    let all = gather(folder.path(), PORTS, &DocumentSources::new(), &texts(&files)).unwrap();
    assert_eq!(keys(&all), ["Service/shop/a"]);
    assert!(all.is_broken("b.yaml") && all.wrongs[0].line.starts_with("b.yaml: "), "{all:?}");
}

#[test]
fn while_a_part_cannot_be_read_what_may_open_more_waits_and_all_else_is_sent() {
    let route = "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: r, namespace: shop }\n\
        spec: { parentRefs: [{ name: edge }], rules: [{ matches: [{ path: { value: /a } }], backendRefs: [{ name: a, port: 80 }] }] }\n";
    let endpoints =
        |text: &str, address: &str| format!("{text}  endpoints: [{{ address: {address} }}]\n");
    let app = endpoints(&service("a"), "10.0.0.1:80");
    let broken = "kind: FilterAttachment\nspec: { phase: [authn }\n";
    let guard = guard("g", "phase: authn\n  order: 1");
    let before: Vec<(&str, String)> = vec![("a.yaml", app.clone()), ("r.yaml", route.to_owned())];
    for (what, file, text, sent) in [
        ("a new service", "n.yaml", service("n"), false),
        ("a new route", "n.yaml", route.replace("name: r,", "name: n,"), false),
        ("another path", "r.yaml", route.replace("/a", "/b"), false),
        (
            "another condition",
            "r.yaml",
            route.replace("{ value: /a }", "{ value: /a }, method: GET"),
            false,
        ),
        ("another port", "a.yaml", app.replace("port: 80,", "port: 81,"), false),
        ("another address", "a.yaml", endpoints(&service("a"), "10.0.0.2:80"), true),
        ("a guard", "n.yaml", guard, true),
        ("the same", "r.yaml", route.to_owned(), true),
    ] {
        for rest in ["", "# a comment\n"] {
            let mut files: BTreeMap<&str, String> = before.iter().cloned().collect();
            files.insert(file, format!("{text}{rest}"));
            files.insert("x.yaml", broken.to_owned());
            let files: Vec<(&str, String)> = files.into_iter().collect();
            let found = folder(&files);
            let all =
                gather(found.path(), PORTS, &DocumentSources::new(), &texts(&before)).unwrap();
            sound(&all);
            let own = key(&parse(file, &text).0[0]);
            assert_eq!(keys(&all).contains(&own), sent, "{what}: {:?}", all.wrongs);
            // What is in force of it stays, and the part is named.
            assert_eq!(all.held.contains(&own), !sent, "{what}");
            let says = format!("{own} waits until x.yaml can be read");
            assert_eq!(all.wrongs.iter().any(|one| one.line.contains(&says)), !sent, "{what}");
            assert_eq!(all.unread, BTreeSet::from(["x.yaml".to_owned()]), "{what}");
        }
    }
}
