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
    let read = Source::folder(folder.path()).read().unwrap();
    assert_eq!(names(&read), ["d", "a", "aa", "b", "f", "g", "c"]);
    assert!(read.problems.is_empty() && read.unreadable.is_empty());
    assert_eq!(read.documents[6].source, "sub/c.yaml");
}

#[test]
fn a_bad_file_leaves_the_others_and_is_named_with_its_place() {
    let folder = folder(&[("a.yaml", &service("a")), ("bad.yaml", "kind: Gateway\n  bad: [\n")]);
    std::fs::write(folder.path().join("binary.yaml"), [b'a', 0xff]).unwrap();
    let read = Source::folder(folder.path()).read().unwrap();
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
    // A folder whose name looks like that of a file is still a folder.
    std::fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    let read = Source::folder(folder.path()).read().unwrap();
    assert_eq!(names(&read), ["deep"]);
    assert_eq!(read.unreadable.len(), 1);
    assert_eq!(read.unreadable[0].path, "1/2/3/4/5/6/7/8/9");
}

#[test]
fn a_root_that_is_no_folder_is_an_error_that_names_it() {
    let folder = folder(&[("file", "")]);
    for name in ["file", "nowhere"] {
        let error = Source::folder(&folder.path().join(name)).read().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_file_that_documents_name_is_read_below_the_root_and_what_is_no_file_is_not() {
    let folder = folder(&[("keys/a.json", "{}")]);
    let source = Source::folder(folder.path());
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
    assert!(octets(&path, 4).unwrap_err().starts_with("longer than 4 bytes"));
}

#[test]
fn a_change_concerns_what_is_read_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for sub in ["more", ".tamis/keys", "logs"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    std::fs::write(root.join("more/mesh.yaml"), "").unwrap();
    let source = Source::folder(root);
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
    let near = Source::new(Path::new("."), Vec::new());
    assert!(near.file("more/key.pub").is_err());
    assert!(near.concerns(&std::env::current_dir().unwrap().join("./more/key.pub")));
    std::fs::remove_dir_all(root.join("more")).unwrap();
    assert!(source.concerns(&root.join("more")), "a folder that is gone");
    source.read().unwrap();
    assert!(source.concerns(&root.join("more/key.pub")), "while a read is in progress");
    source.read().unwrap();
    assert!(!source.concerns(&root.join("more/key.pub")), "no document names it any more");
}
