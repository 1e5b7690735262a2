//! Folders as people leave them.

use super::*;
use tempfile::TempDir;

fn service(name: &str) -> String {
    format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\n\
         spec: {{ ports: [{{ port: 80, protocol: http }}], endpoints: [{{ address: 127.0.0.1:9 }}] }}\n"
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn names(read: &Documents) -> Vec<&str> {
    read.documents.iter().map(|document| document.metadata.name.as_str()).collect()
}

#[test]
fn all_files_of_all_folders_are_read_in_order_and_hidden_ones_are_not() {
    let folder = folder(&[
        ("b.yaml", &service("b")),
        ("a.yml", &format!("{}---\n{}", service("a"), service("aa"))),
        ("f.YAML", &service("f")),
        ("g.Yml", &service("g")),
        ("sub/c.yaml", &service("c")),
        (".tamis/d.yaml", &service("d")),
        (".git/e.yaml", &service("e")),
        ("notes.txt", "no document"),
    ]);
    let read = DocumentPlaces::folder(folder.path()).read().unwrap();
    assert_eq!(names(&read), ["d", "a", "aa", "b", "f", "g", "c"]);
    assert!(read.problems.is_empty() && read.unreadable.is_empty());
    assert_eq!(read.documents[6].source, "sub/c.yaml");
}

#[test]
fn a_bad_file_leaves_the_others_and_is_named_with_its_place() {
    let folder = folder(&[("a.yaml", &service("a")), ("bad.yaml", "kind: Gateway\n  bad: [\n")]);
    std::fs::write(folder.path().join("binary.yaml"), [b'a', 0xff]).unwrap();
    let read = DocumentPlaces::folder(folder.path()).read().unwrap();
    assert_eq!(names(&read), ["a"]);
    assert_eq!(read.problems.len(), 1);
    assert_eq!(
        (read.problems[0].place.source.as_str(), read.problems[0].place.line),
        ("bad.yaml", 2)
    );
    let unreadable: Vec<String> = read.unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(unreadable, ["binary.yaml: not UTF-8 at byte 1"]);
}

#[test]
fn what_is_left_out_is_told() {
    let folder = folder(&[("1/2/3/4/5/6/7/8/deep.yaml", &service("deep"))]);
    let too_deep = folder.path().join("1/2/3/4/5/6/7/8/9");
    std::fs::create_dir_all(&too_deep).unwrap();
    std::fs::write(too_deep.join("deeper.yaml"), service("deeper")).unwrap();
    let read = DocumentPlaces::folder(folder.path()).read().unwrap();
    assert_eq!(names(&read), ["deep"]);
    assert_eq!(read.unreadable.len(), 1);
    assert_eq!(read.unreadable[0].path, "1/2/3/4/5/6/7/8/9");
}

#[test]
fn a_folder_in_the_place_of_a_document_is_a_document_that_cannot_be_read() {
    for name in ["guard.yaml", "guard.yml", "GUARD.YAML", "sub/guard.yaml"] {
        let folder = folder(&[("a.yaml", &service("a"))]);
        let place = folder.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("other.yaml"), service("other")).unwrap();
        let source = DocumentPlaces::folder(folder.path());
        let read = source.read().unwrap();
        let mut read_names = names(&read);
        read_names.sort();
        assert_eq!(read_names, ["a", "other"], "{name}");
        let unreadable: Vec<&str> = read.unreadable.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(unreadable, [name]);
        assert!(source.concerns(&place), "{name}: its end is a change");
    }
}

#[test]
fn a_document_under_another_name_is_named_with_the_way_out_and_read_by_nobody() {
    let json =
        r#"{ "apiVersion": "tamis.dev/v1alpha1", "kind": "Service", "metadata": { "name": "g" } }"#;
    let folder = folder(&[
        ("a.yaml", &service("a")),
        ("b.json", json),
        ("c", &service("c")),
        ("d.yml.bak", &service("d")),
        ("sub/e.yaml~", &service("e")),
        ("sub/f.txt", &service("f")),
        (".g.json", json),
        (".tamis/h.json", json),
        ("schema.json", r#"{ "type": "object" }"#),
        ("README.md", &format!("# A\n\n```yaml\n{}```\n", service("i"))),
        ("proxy.log", "kind: a\n"),
    ]);
    // Nobody writes to it: whoever opens it waits for ever.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let source = DocumentPlaces::folder(folder.path());
    let read = source.read().unwrap();
    assert_eq!(names(&read), ["a"]);
    let unread: Vec<&str> = read.unread.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(unread, ["b.json", "c", "d.yml.bak", "sub/e.yaml~", "sub/f.txt"]);
    assert!(read.unread.iter().all(|one| one.to_string().contains(": it looks like a document")));
    // The folder's watcher notices a change of such a file, so that the report about it stays true.
    for (name, concerns) in [("b.json", true), ("sub/f.txt", true), ("schema.json", false)] {
        assert_eq!(source.concerns(&folder.path().join(name)), concerns, "{name}");
    }
    std::fs::write(folder.path().join("new.json"), json).unwrap();
    assert!(source.concerns(&folder.path().join("new.json")));
    for name in ["b.json", "c", "d.yml.bak", "sub/e.yaml~", "sub/f.txt", "new.json"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
        assert!(name == "new.json" || source.concerns(&folder.path().join(name)), "{name} is gone");
    }
    assert!(source.read().unwrap().unread.is_empty());
}

#[test]
fn what_cannot_be_looked_at_is_named_with_the_way_out_whatever_it_is_called() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[("a.yaml", &service("a")), ("real/b.yaml", &service("b"))]);
    let root = folder.path();
    symlink("real", root.join("sound")).unwrap();
    // The name of a link, and what it leads to.
    let rows = [
        ("guards", "/nonexistent/guards"),
        ("g.yaml", "/nonexistent/g.yaml"),
        ("loop", "loop"),
        ("l.yaml", "l.yaml"),
        ("there", "back"),
        ("back", "there"),
        ("through", "a.yaml/guards"),
        ("real/inner", "../gone"),
        (".tamis", "gone"),
    ];
    for (name, to) in rows {
        symlink(to, root.join(name)).unwrap();
    }
    symlink("/nonexistent/hidden", root.join(".hidden")).unwrap();
    let source = DocumentPlaces::folder(root);
    let read = source.read().unwrap();
    // By one of its paths.
    assert_eq!(names(&read), ["a", "b"]);
    let mut unreadable: Vec<&str> = read.unreadable.iter().map(|one| one.path.as_str()).collect();
    unreadable.sort_unstable();
    let mut wanted: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    wanted.sort_unstable();
    assert_eq!(unreadable, wanted);
    for one in &read.unreadable {
        assert!(one.why.contains("what this link leads to cannot be looked at: "), "{one}");
        assert!(one.why.contains("; restore it, remove the link"), "{one}");
    }
    // When it is removed, the folder is read again.
    for (name, _) in rows {
        std::fs::remove_file(root.join(name)).unwrap();
        assert!(source.concerns(&root.join(name)), "{name}");
    }
    assert!(source.read().unwrap().unreadable.is_empty());
}

#[test]
fn a_root_that_is_no_folder_is_an_error_that_names_it() {
    let folder = folder(&[("file", "")]);
    for name in ["file", "nowhere"] {
        let error = DocumentPlaces::folder(&folder.path().join(name)).read().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_file_that_documents_name_is_read_below_the_root_and_what_is_no_file_is_not() {
    let folder = folder(&[("keys/a.json", "{}")]);
    let source = DocumentPlaces::folder(folder.path());
    assert_eq!(source.file("keys/a.json").unwrap(), b"{}");
    for name in ["keys", "keys/b.json", "/dev/null"] {
        let why = source.file(name).unwrap_err();
        assert!(why.contains(name), "{why}");
    }
}

#[test]
fn longer_files_than_the_limit_are_refused() {
    let folder = folder(&[("five", "12345")]);
    let path = folder.path().join("five");
    assert_eq!(octets(&path, 5).unwrap(), b"12345");
    let refused = octets(&path, 4).unwrap_err();
    assert!(refused.contains("longer than 4 bytes") && refused.ends_with("split it"), "{refused}");
}

#[test]
fn a_change_concerns_what_is_read_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for sub in ["more", ".tamis/keys", "logs"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    std::fs::write(root.join("more/mesh.yaml"), "").unwrap();
    let source = DocumentPlaces::folder(root);
    source.read().unwrap();
    // Named, whether it is there or not.
    assert!(source.file("more/../more/key.pub").is_err());
    for (path, concerns) in [
        ("more/mesh.yaml", true),
        ("more/new.yml", true),
        ("more/key.pub", true),
        ("./more/key.pub", true),
        ("more", true),
        ("logs", true),
        ("logs/access.jsonl", false),
        ("access.jsonl", false),
        ("proxy.log", false),
        (".tamis/cache/code.bin", false),
        ("mor", false),
        ("more/key.pub.swp", false),
    ] {
        assert_eq!(source.concerns(&root.join(path)), concerns, "{path}");
    }
    // A folder that is named from the current one is watched by its whole path.
    let near = DocumentPlaces::new(Path::new("."), Vec::new());
    assert!(near.file("more/key.pub").is_err());
    assert!(near.concerns(&std::env::current_dir().unwrap().join("./more/key.pub")));
    std::fs::remove_dir_all(root.join("more")).unwrap();
    assert!(source.concerns(&root.join("more")), "a folder that is gone");
    source.read().unwrap();
    assert!(source.concerns(&root.join("more/key.pub")), "while a read is in progress");
    source.read().unwrap();
    assert!(!source.concerns(&root.join("more/key.pub")), "no document names it any more");
}

#[test]
fn a_folder_is_read_once_whatever_leads_to_it_and_the_read_has_an_end() {
    let link = |to: &str, from: PathBuf| std::os::unix::fs::symlink(to, from).unwrap();
    let service = |name: &str| {
        format!(
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name} }}\n\
             spec: {{ ports: [{{ port: 80, protocol: http }}] }}\n"
        )
    };
    type Make<'a> = &'a dyn Fn(&Path);
    // What links there are in a folder with two documents, and where the documents are found.
    let rows: [(&str, Make<'_>, &[&str]); 5] = [
        ("none", &|_| (), &["a.yaml", "below/b.yaml"]),
        (
            "many to the folder itself",
            &|root| (0..40).for_each(|at| link(".", root.join(format!("l{at}")))),
            &["a.yaml", "below/b.yaml"],
        ),
        (
            "to each other",
            &|root| {
                link("..", root.join("below/up"));
                link("below", root.join("aside"));
            },
            &["a.yaml", "below/b.yaml"],
        ),
        (
            "to a folder elsewhere, twice",
            &|root| {
                let other = root.parent().unwrap().join("other");
                std::fs::create_dir_all(&other).unwrap();
                std::fs::write(other.join("c.yaml"), service("c")).unwrap();
                link("../other", root.join("x"));
                link("../other", root.join("w"));
            },
            &["a.yaml", "below/b.yaml", "w/c.yaml"],
        ),
        (
            "to a file, twice",
            &|root| link("a.yaml", root.join("z.yaml")),
            &["a.yaml", "below/b.yaml", "z.yaml"],
        ),
    ];
    for (what, make, expected) in rows {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("below")).unwrap();
        std::fs::write(root.join("a.yaml"), service("a")).unwrap();
        std::fs::write(root.join("below/b.yaml"), service("b")).unwrap();
        make(&root);
        let read = DocumentPlaces::folder(&root).read().unwrap();
        let mut found: Vec<&str> = read.documents.iter().map(|one| &*one.source).collect();
        found.sort_unstable();
        assert_eq!((found.as_slice(), read.unreadable.as_slice()), (expected, &[][..]), "{what}");
    }
    let folder = TempDir::new().unwrap();
    (0..=MAX_ENTRIES)
        .for_each(|at| drop(std::fs::File::create(folder.path().join(format!("f{at}"))).unwrap()));
    let read = DocumentPlaces::folder(folder.path()).read().unwrap();
    let [many] = read.unreadable.as_slice() else { panic!("{:?}", read.unreadable) };
    assert!(many.why.contains("more than 5000"), "{many}");
}

#[test]
fn a_file_that_a_document_names_is_read_if_it_is_one_and_short() {
    let folder = TempDir::new().unwrap();
    let source = DocumentPlaces::folder(folder.path());
    std::fs::write(folder.path().join("k.pub"), "key").unwrap();
    assert_eq!(source.file("k.pub").unwrap(), b"key");
    for (name, to) in [("zero", "/dev/zero"), ("folder", "."), ("gone", "nowhere")] {
        std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        let why = source.file(name).unwrap_err();
        assert!(why.contains(name), "{why}");
    }
    let long = std::fs::File::create(folder.path().join("long")).unwrap();
    long.set_len(MAX_BYTES + 1).unwrap();
    assert!(source.file("long").unwrap_err().contains("16777216"));
}
