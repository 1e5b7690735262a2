use super::*;
use crate::Namespace;
use crate::testing::{NOW, World, key, namespace, public, signers};

#[test]
fn nothing_is_published_before_enough_keys_have_signed() {
    let world = World::staged();
    let refused =
        |world: &World| world.repository.refresh(&world.online, NOW).unwrap_err().to_string();
    assert!(refused(&world).contains("no root has enough signatures"));
    assert!(world.repository.first_root().is_err());
    world.sign(&world.root[..1]);
    assert!(refused(&world).contains("no root"));
    let signed = world.repository.sign(&world.root[1]).unwrap();
    let file =
        StagedFile { file: "1.root.json".to_owned(), version: 1, signatures: 2, threshold: 2 };
    assert_eq!(signed, [file]);
    assert!(world.files().is_empty());
    assert!(world.repository.sign(&key()).unwrap_err().to_string().contains("waits for the key"));
    world.sign(&world.security);
    let published = world.refresh(NOW);
    assert_eq!(published.files, ["1.root.json", "targets.json"]);
    assert!(published.waiting.is_empty());
    assert!(world.repository.overview().unwrap().waiting.is_empty());
}

#[test]
fn a_change_voids_the_signatures_of_what_was_staged() {
    let world = World::new();
    let beta = namespace("beta");
    world.repository.set(&beta, &world.document(&["beta/*"]), NOW).unwrap();
    world.sign(&world.security);
    world.repository.set(&beta, &world.document(&["beta/x"]), NOW).unwrap();
    let waiting = world.refresh(NOW).waiting;
    let file = TARGETS_FILE.to_owned();
    assert_eq!(waiting, [StagedFile { file, version: 2, signatures: 0, threshold: 2 }]);
    world.sign(&world.security);
    world.refresh(NOW);
    assert_eq!(world.repository.document(&beta).unwrap(), Some(world.document(&["beta/x"])));
    assert_eq!(world.node().policies().len(), 2);
}

#[test]
fn only_an_online_key_publishes() {
    let world = World::new();
    for stranger in [key(), key()].iter().chain(&world.security).chain(&world.root) {
        let error = world.repository.refresh(stranger, NOW).unwrap_err();
        assert!(error.to_string().contains("not one of the online keys"), "{error}");
    }
}

#[test]
fn a_delegated_document_moves_to_its_role_and_back_when_taken_back() {
    let world = World::new();
    let (acme, team) = (namespace("acme"), key());
    world.delegate("acme", &team);
    let overview = world.repository.overview().unwrap();
    let roles: Vec<_> =
        overview.roles.iter().map(|one| (&one.role[..], one.documents.len())).collect();
    let expected =
        [("root", 0), ("timestamp", 0), ("snapshot", 0), ("targets", 0), ("namespace:acme", 1)];
    assert_eq!(roles, expected);
    let keys = signers(std::slice::from_ref(&team), 1);
    assert!(world.repository.delegate(&acme, &keys, None, NOW).is_err());
    world.repository.undelegate(&acme, NOW).unwrap();
    world.sign(&world.security);
    world.refresh(NOW);
    assert_eq!(world.node().policies().len(), 0, "default deny");
    assert!(world.files().contains_key("ns.acme.json"), "a snapshot drops no file");
    world.set("acme", &["acme/*"], NOW);
    assert_eq!(world.node().namespaces().next().unwrap().1, "targets");
}

#[test]
fn a_namespace_whose_keys_changed_is_signed_by_the_new_ones() {
    let world = World::new();
    let (old, new) = (key(), key());
    world.delegate("acme", &old);
    let role = Role::Namespace(namespace("acme"));
    let change = KeyChange {
        add: public(std::slice::from_ref(&new)),
        remove: vec![old.public_key()],
        threshold: None,
    };
    world.repository.change_keys(&role, &change, NOW).unwrap();
    world.sign(&world.security);
    let error = world.repository.refresh(&world.online, NOW).unwrap_err().to_string();
    assert!(error.starts_with("ns.acme.json"), "{error}");
    assert!(world.repository.sign(&old).is_err());
    world.sign(std::slice::from_ref(&new));
    world.refresh(NOW);
    assert_eq!(world.node().policies().len(), 1);
    assert!(world.repository.change_keys(&role, &change, NOW).is_err(), "they are there already");
}

#[test]
fn a_document_that_is_taken_out_speaks_no_more() {
    let world = World::new();
    let acme = namespace("acme");
    assert!(world.repository.unset(&namespace("beta"), NOW).is_err());
    assert_eq!(world.repository.unset(&acme, NOW).unwrap(), TARGETS_FILE);
    world.sign(&world.security);
    world.refresh(NOW);
    assert_eq!(world.node().policies().len(), 0);
    assert_eq!(world.repository.document(&acme).unwrap(), None);
}

#[test]
fn changes_that_make_no_sense_are_refused_in_one_line() {
    let world = World::new();
    let repository = &world.repository;
    let folder = world.folder.path();
    let (keys, one) = (signers(&world.root, 2), signers(&world.root[..1], 1));
    let too_many = signers(&world.root, 3);
    let mut twice = signers(&world.root, 1);
    twice.keys.push(world.root[0].public_key());
    let nowhere = namespace("nowhere");
    let unknown = Withdrawal::Key { key: "nobody".to_owned(), from_index: None };
    let all = |threshold| KeyChange { threshold, ..KeyChange::default() };
    let errors = [
        PolicyRepository::init(&folder.join("policy"), &keys, &keys, &one, NOW).unwrap_err(),
        PolicyRepository::init(&folder.join("other"), &keys, &keys, &keys, NOW).unwrap_err(),
        repository.change_keys(&Role::Online, &all(Some(2)), NOW).unwrap_err(),
        PolicyRepository::init(&folder.join("other"), &too_many, &keys, &one, NOW).unwrap_err(),
        PolicyRepository::init(&folder.join("other"), &twice, &keys, &one, NOW).unwrap_err(),
        PolicyRepository::open(&folder.join("none")).unwrap_err(),
        repository.revoke(&nowhere, &unknown, NOW).unwrap_err(),
        repository.revoke(&namespace("acme"), &unknown, NOW).unwrap_err(),
        repository.undelegate(&nowhere, NOW).unwrap_err(),
        repository.delegate(&Namespace::ALL, &keys, None, NOW).unwrap_err(),
        repository.delegate(&nowhere, &too_many, None, NOW).unwrap_err(),
        repository.change_keys(&Role::Root, &all(Some(0)), NOW).unwrap_err(),
        repository.change_keys(&Role::Targets, &all(Some(9)), NOW).unwrap_err(),
        repository.set(&nowhere, b"{}", NOW).unwrap_err(),
        repository.set(&nowhere, &world.document(&["*"]), NOW).unwrap_err(),
        "owner".parse::<Role>().unwrap_err(),
        "namespace:A".parse::<Role>().unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n'), "{text}");
    }
    assert!(repository.overview().unwrap().waiting.is_empty(), "none of them staged anything");
}

#[test]
fn roles_are_written_as_they_are_read() {
    for text in ["root", "targets", "online", "namespace:acme/team"] {
        assert_eq!(text.parse::<Role>().unwrap().to_string(), text);
    }
}
