use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tamis_trust::{
    BuildInput, Digest, KeyId, PrivateKey, Refused, Revocation, VerificationRequest,
    VerifiedFilter, build, code, sign, verify,
};

use super::*;
use crate::testing::{DAY, NOW, World, key, names, namespace, public, signers};
use crate::{KeyChange, Role, Rule, Withdrawal};

type Files = BTreeMap<String, Vec<u8>>;

/// Verifies filters under the current policies.
fn ask(
    node: &TrustedPolicies,
    name: &str,
    key: &PrivateKey,
    logged: &[Option<u64>],
) -> Result<VerifiedFilter, Refused> {
    let component = b"\0asm";
    let manifest = build(component, &BuildInput::new(name, "1.0.0")).unwrap();
    let bundle = sign(key, &manifest).unwrap();
    let policies = node.policies();
    let request = VerificationRequest {
        pinned: &Digest::of(&manifest),
        name: Some(name),
        manifest: &manifest,
        bundles: &[bundle.as_bytes()],
        logged,
        policies: &policies,
        policy_age: node.age(NOW),
        now: NOW,
    };
    verify(&request, component)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The file with changed content and its old signatures.
fn altered(files: &Files, file: &str, change: impl FnOnce(&mut Value)) -> Files {
    let mut files = files.clone();
    let mut value: Value = serde_json::from_slice(&files[file]).unwrap();
    change(&mut value);
    files.insert(file.to_owned(), value.to_string().into_bytes());
    files
}

fn rule(outcome: Result<UpdateOutcome, TufError>) -> Option<Rule> {
    let error = outcome.unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error.rule()
}

#[test]
fn what_is_published_is_believed_from_the_first_root_on() {
    let world = World::new();
    let mut node = TrustedPolicies::new(&world.first_root()).unwrap();
    assert_eq!(node.policies().len(), 0);
    assert_eq!(node.age(NOW), Duration::MAX);
    assert!(node.fresh(&name("acme/a"), NOW).is_err());
    assert_eq!(node.take(&world.files(), NOW + 60).unwrap(), UpdateOutcome::New);
    assert_eq!(node.take(&world.files(), NOW + 90).unwrap(), UpdateOutcome::Unchanged);
    assert_eq!(names(&node), ["acme/*"]);
    assert_eq!(node.age(NOW + 90), Duration::from_secs(90));
    assert!(node.fresh(&name("acme/a"), NOW + 90).is_ok());
    assert!(ask(&node, "acme/a", &world.author, &[]).is_ok());
    let roles: Vec<_> = node.expires().into_iter().map(|one| (one.role, one.version)).collect();
    let expected = ["root", "timestamp", "snapshot", "targets"].map(|role| (role.to_owned(), 1));
    assert_eq!(roles, expected);
}

#[test]
fn trust_roots_per_namespace_a_key_of_acme_signs_nothing_of_beta() {
    let world = World::new();
    let (acme, beta) = (key(), key());
    world.delegate("acme", &acme);
    world.delegate("beta", &beta);
    let node = world.node();
    assert_eq!(names(&node), ["acme/*", "beta/*"]);
    let by: Vec<_> = node.namespaces().map(|(one, role)| format!("{one} {role}")).collect();
    assert_eq!(by, ["acme ns.acme", "beta ns.beta"]);
    // The team of acme signs a document at beta's path, by itself and with a tool of its own.
    let beyond = world.repository.set(&namespace("acme"), &world.document(&["beta/*"]), NOW);
    assert!(beyond.unwrap_err().to_string().contains("beta/*"));
    let targets: Value = serde_json::from_slice(&world.files()["ns.beta.json"]).unwrap();
    world.repository.renew(&Role::Namespace(namespace("acme")), NOW).unwrap();
    let staged = world.folder.path().join("policy/staged/ns.acme.json");
    let mut forged: Value = serde_json::from_slice(&std::fs::read(&staged).unwrap()).unwrap();
    forged["signed"]["targets"]["policy/beta.json"] =
        targets["signed"]["targets"]["policy/beta.json"].clone();
    std::fs::write(&staged, forged.to_string()).unwrap();
    world.sign(std::slice::from_ref(&acme));
    world.refresh(NOW);
    let by: Vec<_> = world.node().namespaces().map(|(_, role)| role.to_owned()).collect();
    assert_eq!(by, ["ns.acme", "ns.beta"], "beta stays the word of beta's own role");
}

#[test]
fn a_document_that_speaks_of_another_namespace_is_refused() {
    let world = World::new();
    let (path, document) = ("policy/acme.json", world.document(&["acme/*", "beta/x"]));
    let staged = world.folder.path().join("policy/staged");
    world.repository.renew(&Role::Targets, NOW).unwrap();
    let mut targets: Value =
        serde_json::from_slice(&std::fs::read(staged.join("targets.json")).unwrap()).unwrap();
    targets["signed"]["targets"][path] =
        json!({ "length": document.len(), "hashes": { "sha256": Digest::of(&document).hex() } });
    std::fs::write(staged.join("targets.json"), targets.to_string()).unwrap();
    std::fs::create_dir_all(staged.join("policy")).unwrap();
    std::fs::write(staged.join(path), &document).unwrap();
    world.sign(&world.security);
    let error = world.repository.refresh(&world.online, NOW).unwrap_err().to_string();
    assert!(error.contains(path) && error.contains("beta/x"), "{error}");
}

#[test]
fn a_delegation_below_a_delegation_holds_within_it_only() {
    let world = World::new();
    let (acme, team) = (key(), key());
    world.delegate("acme", &acme);
    let by = namespace("acme");
    let keys = signers(std::slice::from_ref(&team), 1);
    assert!(world.repository.delegate(&namespace("beta"), &keys, Some(&by), NOW).is_err());
    world.repository.delegate(&namespace("acme/team"), &keys, Some(&by), NOW).unwrap();
    let document = world.document(&["acme/team/*"]);
    world.repository.set(&namespace("acme/team"), &document, NOW).unwrap();
    world.sign(&[acme, team]);
    world.refresh(NOW);
    let node = world.node();
    let by: Vec<_> = node.namespaces().map(|(_, role)| role.to_owned()).collect();
    assert_eq!(by, ["ns.acme", "ns.acme~team"]);
}

#[test]
fn threshold_counts_distinct_keys_however_often_one_signs() {
    let world = World::staged();
    world.sign(&world.root);
    world.sign(&world.security[..1]);
    let waiting = world.refresh_fails();
    assert!(waiting.contains("targets.json"), "{waiting}");
    world.sign(&world.security[1..]);
    world.refresh(NOW);
    let files = world.files();
    // The same signature twice.
    let twice = altered(&files, "targets.json", |value| {
        value["signatures"][1] = value["signatures"][0].clone();
    });
    let mut node = TrustedPolicies::new(&world.first_root()).unwrap();
    assert_eq!(rule(node.take(&twice, NOW)), Some(Rule::Mixed), "the snapshot names other bytes");
    let root: Value = serde_json::from_slice(&world.first_root()).unwrap();
    let mut one = root.clone();
    one["signatures"][1] = one["signatures"][0].clone();
    assert_eq!(
        TrustedPolicies::new(one.to_string().as_bytes()).unwrap_err().rule(),
        Some(Rule::Threshold)
    );
    // One key under two ids.
    let mut alias = root;
    let first = alias["signed"]["keys"].as_object().unwrap().values().next().unwrap().clone();
    alias["signed"]["keys"]["00"] = first;
    let error =
        keys::check("root", &serde_json::from_value(alias["signed"]["keys"].clone()).unwrap());
    assert!(error.unwrap_err().to_string().contains("twice under two ids"));
}

#[test]
fn key_rotation_a_node_offline_for_two_rotations_catches_up() {
    let world = World::new();
    let mut node = world.node();
    let (third, fourth) = (key(), key());
    let swap = |old: &PrivateKey, new: &PrivateKey| KeyChange {
        add: public(std::slice::from_ref(new)),
        remove: public(std::slice::from_ref(old)),
        threshold: None,
    };
    let [first, second] = &world.root[..] else { panic!("two root keys") };
    world.repository.change_keys(&Role::Root, &swap(first, &third), NOW).unwrap();
    world.sign(std::slice::from_ref(second));
    world.sign(std::slice::from_ref(&third));
    let waiting = world.refresh(NOW).waiting;
    assert_eq!(waiting.len(), 1, "the old threshold must sign as well: {waiting:?}");
    world.sign(std::slice::from_ref(first));
    world.refresh(NOW);
    world.repository.change_keys(&Role::Root, &swap(second, &fourth), NOW).unwrap();
    world.sign(std::slice::from_ref(second));
    world.sign(&[third, fourth]);
    world.refresh(NOW);
    let files = world.files();
    let mut without = files.clone();
    without.remove("2.root.json");
    assert_eq!(node.take(&without, NOW).unwrap(), UpdateOutcome::New);
    assert_eq!(node.expires()[0].version, 1, "a root left out is not jumped over");
    assert_eq!(node.take(&files, NOW).unwrap(), UpdateOutcome::New);
    assert_eq!(node.expires()[0].version, 3);
    // A root that only the first keys signed.
    let forged = altered(&files, "3.root.json", |value| {
        value["signed"]["expires"] = json!("2099-01-01T00:00:00Z");
    });
    let mut fresh = TrustedPolicies::new(&world.first_root()).unwrap();
    assert_eq!(rule(fresh.take(&forged, NOW)), Some(Rule::Threshold));
}

#[test]
fn new_roots_stay_where_the_rest_is_withheld() {
    let world = World::new();
    let folder = world.folder.path().join("node/trusted.json");
    let mut node = TrustedPolicies::open(&world.first_root(), &folder).unwrap();
    node.take(&world.files(), NOW).unwrap();
    let next = key();
    let change = KeyChange {
        add: public(std::slice::from_ref(&next)),
        remove: public(&world.security[..1]),
        threshold: None,
    };
    world.repository.change_keys(&Role::Targets, &change, NOW).unwrap();
    world.sign(&world.root);
    world.sign(&world.security[1..]);
    world.sign(std::slice::from_ref(&next));
    let old = world.files();
    world.refresh(NOW + 1);
    let mut withheld = old;
    withheld.extend(world.files().into_iter().filter(|(name, _)| name == "2.root.json"));
    assert!(node.take(&withheld, NOW + 2).is_err());
    for node in [&node, &TrustedPolicies::open(&world.first_root(), &folder).unwrap()] {
        assert_eq!(node.expires()[0].version, 2);
        assert_eq!(names(node), ["acme/*"], "what runs keeps running");
        let refused = node.fresh(&name("acme/a"), NOW + 2).unwrap_err();
        assert_eq!(refused.code, code::STALE);
        assert!(refused.rule.contains("root version 1"), "{refused}");
    }
    assert_eq!(node.take(&world.files(), NOW + 3).unwrap(), UpdateOutcome::New);
    assert!(node.fresh(&name("acme/a"), NOW + 3).is_ok());
}

#[test]
fn revocation_of_a_digest_arrives_with_the_next_state() {
    let world = World::new();
    let manifest = build(b"\0asm", &BuildInput::new("acme/a", "1.0.0")).unwrap();
    let withdrawal = Withdrawal::Digest(Digest::of(&manifest));
    world.repository.revoke(&namespace("acme"), &withdrawal, NOW).unwrap();
    world.sign(&world.security);
    let mut node = world.node();
    assert!(ask(&node, "acme/a", &world.author, &[]).is_ok());
    world.refresh(NOW);
    node.take(&world.files(), NOW).unwrap();
    assert_eq!(ask(&node, "acme/a", &world.author, &[]).unwrap_err().code, code::REVOKED_DIGEST);
}

#[test]
fn revocation_of_a_key_holds_from_its_log_index_on() {
    let world = World::new();
    let key = "author".to_owned();
    let withdrawal = Withdrawal::Key { key, from_index: Some(7) };
    world.repository.revoke(&namespace("acme"), &withdrawal, NOW).unwrap();
    world.sign(&world.security);
    world.refresh(NOW);
    let node = world.node();
    let id: KeyId = world.author.public_key().id();
    let revoked = node.policies().iter().find_map(|policy| policy.revocation(&id));
    assert_eq!(revoked, Some(Revocation::From(7)));
    assert!(ask(&node, "acme/a", &world.author, &[Some(6)]).is_ok());
    for logged in [[Some(7)], [None]] {
        let refused = ask(&node, "acme/a", &world.author, &logged).unwrap_err();
        assert_eq!(refused.code, code::REVOKED_KEY);
    }
}

#[test]
fn a_revocation_from_above_holds_in_a_delegated_namespace() {
    let world = World::new();
    let acme = key();
    world.delegate("acme", &acme);
    world.set("*", &["*"], NOW);
    let manifest = build(b"\0asm", &BuildInput::new("acme/a", "1.0.0")).unwrap();
    let withdrawal = Withdrawal::Digest(Digest::of(&manifest));
    world.repository.revoke(&Namespace::ALL, &withdrawal, NOW).unwrap();
    world.sign(&world.security);
    world.refresh(NOW);
    let refused = ask(&world.node(), "acme/a", &world.author, &[]).unwrap_err();
    assert_eq!(refused.code, code::REVOKED_DIGEST);
    assert!(refused.set_by.contains("\"*\""), "{refused}");
}

#[test]
fn expiry_lets_what_runs_go_on_and_nothing_new_in() {
    let world = World::new();
    let path = world.folder.path().join("trusted.json");
    let mut node = TrustedPolicies::open(&world.first_root(), &path).unwrap();
    node.take(&world.files(), NOW).unwrap();
    let later = NOW + DAY + 1;
    for node in [&node, &TrustedPolicies::open(&world.first_root(), &path).unwrap()] {
        assert_eq!(names(node), ["acme/*"]);
        assert!(node.fresh(&name("acme/a"), NOW + DAY).is_ok());
        let refused = node.fresh(&name("acme/a"), later).unwrap_err();
        assert_eq!(refused.code, code::STALE);
        assert!(refused.rule.contains("timestamp"), "{refused}");
    }
    assert_eq!(rule(node.take(&world.files(), later)), Some(Rule::Expired));
    let mut fresh = TrustedPolicies::new(&world.first_root()).unwrap();
    assert_eq!(rule(fresh.take(&world.files(), later)), Some(Rule::Expired));
    assert_eq!(fresh.policies().len(), 0);
}

#[test]
fn a_namespace_whose_time_ran_out_holds_up_no_other() {
    let world = World::new();
    let acme = key();
    world.delegate("acme", &acme);
    let later = NOW + 91 * DAY;
    world.repository.renew(&Role::Targets, later).unwrap();
    world.set("beta", &["beta/*"], later);
    let mut node = TrustedPolicies::new(&world.first_root()).unwrap();
    node.take(&world.files(), later).unwrap();
    assert!(node.fresh(&name("beta/a"), later).is_ok());
    let refused = node.fresh(&name("acme/a"), later).unwrap_err();
    assert!(refused.rule.contains("ns.acme"), "{refused}");
}

#[test]
fn g10_rollback_to_an_older_state_is_refused_across_restarts() {
    let world = World::new();
    let path = world.folder.path().join("trusted.json");
    let old = world.files();
    world.set("beta", &["beta/*"], NOW);
    let mut node = TrustedPolicies::open(&world.first_root(), &path).unwrap();
    node.take(&world.files(), NOW).unwrap();
    assert_eq!(rule(node.take(&old, NOW)), Some(Rule::Rollback));
    let mut again = TrustedPolicies::open(&world.first_root(), &path).unwrap();
    assert_eq!(names(&again), ["acme/*", "beta/*"]);
    assert_eq!(again.files(), node.files());
    assert_eq!(rule(again.take(&old, NOW)), Some(Rule::Rollback));
    assert_eq!(names(&again), ["acme/*", "beta/*"]);
}

#[test]
fn g10_mix_and_match_of_two_states_is_refused_and_the_old_one_stays() {
    let world = World::new();
    let mut node = world.node();
    let old = world.files();
    let acme = key();
    world.delegate("acme", &acme);
    let new = world.files();
    for file in ["snapshot.json", "targets.json", "ns.acme.json", "policy/acme.json"] {
        let mut mixed = new.clone();
        match old.get(file).filter(|bytes| new.get(file) != Some(bytes)) {
            Some(bytes) => mixed.insert(file.to_owned(), bytes.clone()),
            None => mixed.remove(file),
        };
        let error = node.take(&mixed, NOW).unwrap_err();
        assert!(
            matches!(&error, TufError::Missing { .. }) || error.rule() == Some(Rule::Mixed),
            "{file}: {error}"
        );
        assert_eq!(node.files(), old);
    }
    assert_eq!(node.take(&new, NOW).unwrap(), UpdateOutcome::New);
}

#[test]
fn g10_freeze_sending_an_old_timestamp_again_makes_nothing_younger() {
    let world = World::new();
    let mut node = world.node();
    assert_eq!(node.take(&world.files(), NOW + 3600).unwrap(), UpdateOutcome::Unchanged);
    assert_eq!(node.age(NOW + 3600), Duration::from_secs(3600));
    world.refresh(NOW + 3600);
    assert_eq!(node.take(&world.files(), NOW + 3601).unwrap(), UpdateOutcome::New);
    assert_eq!(node.age(NOW + 3601), Duration::from_secs(1));
    world.refresh(NOW + 7200);
    let error = node.take(&world.files(), NOW + 3602).unwrap_err().to_string();
    assert!(error.contains("after now"), "{error}");
}

#[test]
fn fast_forward_recovery_new_online_keys_reset_the_versions() {
    let mut world = World::new();
    let mut node = world.node();
    // A thief of the online key publishes far ahead.
    for _ in 0..5 {
        world.refresh(NOW);
    }
    node.take(&world.files(), NOW).unwrap();
    // The owner has the previous state, and new keys.
    let next = key();
    for file in ["timestamp.json", "snapshot.json"] {
        std::fs::remove_file(world.folder.path().join("policy/metadata").join(file)).unwrap();
    }
    let change = KeyChange {
        add: public(std::slice::from_ref(&next)),
        remove: vec![world.online.public_key()],
        threshold: None,
    };
    world.repository.change_keys(&Role::Online, &change, NOW).unwrap();
    world.sign(&world.root);
    world.online = next;
    assert_eq!(world.refresh(NOW).timestamp, 1);
    assert_eq!(node.take(&world.files(), NOW).unwrap(), UpdateOutcome::New);
    assert_eq!(node.expires()[1].version, 1);
}

#[test]
fn what_was_kept_is_believed_only_if_it_follows_from_the_pinned_root() {
    let world = World::new();
    let path = world.folder.path().join("trusted.json");
    let mut node = TrustedPolicies::open(&world.first_root(), &path).unwrap();
    node.take(&world.files(), NOW).unwrap();
    let stranger = World::new();
    let error = TrustedPolicies::open(&stranger.first_root(), &path).unwrap_err();
    assert!(matches!(error, TufError::Kept { .. }), "{error}");
    let text = std::fs::read_to_string(&path).unwrap();
    for bad in
        [text.replace("\\\"threshold\\\":1", "\\\"threshold\\\":0"), "{}".to_owned(), String::new()]
    {
        assert_ne!(bad, text);
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(
            TrustedPolicies::open(&world.first_root(), &path),
            Err(TufError::Kept { .. })
        ));
    }
}

#[test]
fn what_is_no_metadata_is_refused_with_its_name() {
    let world = World::new();
    for file in ["timestamp.json", "snapshot.json", "targets.json", "policy/acme.json"] {
        for bytes in
            [b"".to_vec(), b"[]".to_vec(), b"{\"signed\":1}".to_vec(), vec![0xff], vec![b'['; 4000]]
        {
            let mut files = world.files();
            files.insert(file.to_owned(), bytes);
            let error =
                TrustedPolicies::new(&world.first_root()).unwrap().take(&files, NOW).unwrap_err();
            assert!(error.to_string().starts_with(file), "{error}");
        }
        let mut files = world.files();
        files.insert(file.to_owned(), vec![b' '; MAX_FILE_BYTES + 1]);
        let error =
            TrustedPolicies::new(&world.first_root()).unwrap().take(&files, NOW).unwrap_err();
        assert!(matches!(error, TufError::Limit { .. }), "{error}");
    }
    for bytes in [&b""[..], b"{}", b"\xff"] {
        assert!(TrustedPolicies::new(bytes).is_err());
    }
}

#[test]
fn what_would_take_too_much_work_is_refused_with_its_limit() {
    let world = World::new();
    let staged = world.folder.path().join("policy/staged/targets.json");
    let refused = |change: &dyn Fn(&mut Value)| {
        world.repository.renew(&Role::Targets, NOW).unwrap();
        let mut targets: Value = serde_json::from_slice(&std::fs::read(&staged).unwrap()).unwrap();
        change(&mut targets["signed"]);
        std::fs::write(&staged, targets.to_string()).unwrap();
        world.sign(&world.security);
        world.refresh_fails()
    };
    let delegations = |number: usize, patterns: usize| {
        let role = |at| {
            json!({ "name": format!("r{at}"), "keyids": [], "threshold": 1, "terminating": true,
                                "paths": vec!["x"; patterns] })
        };
        json!({ "keys": {}, "roles": (0..number).map(role).collect::<Vec<_>>() })
    };
    let file = json!({ "length": 1, "hashes": { "sha256": "00" } });
    let said = refused(&|signed| {
        signed["targets"] = (0..1025).map(|at| (format!("x/{at}"), file.clone())).collect();
    });
    assert!(said.contains("1024 documents"), "{said}");
    let said = refused(&|signed| signed["delegations"] = delegations(1, 17));
    assert!(said.contains("16 path patterns"), "{said}");
    let keys = |signed: &mut Value| {
        signed["delegations"] = delegations(0, 0);
        for at in 0..65 {
            let key = json!({ "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256",
                              "keyval": { "public": "" } });
            signed["delegations"]["keys"][format!("{at}")] = key;
        }
    };
    assert!(refused(&keys).contains("64 keys"));
}

impl World {
    fn refresh_fails(&self) -> String {
        self.repository.refresh(&self.online, NOW).unwrap_err().to_string()
    }
}

fn shared() -> &'static (Vec<u8>, Files, Vec<String>) {
    static WORLD: std::sync::OnceLock<(Vec<u8>, Files, Vec<String>)> = std::sync::OnceLock::new();
    WORLD.get_or_init(|| {
        let world = World::new();
        world.delegate("acme", &key());
        (world.first_root(), world.files(), said(&world.node()))
    })
}

/// The content of all policies.
fn said(node: &TrustedPolicies) -> Vec<String> {
    node.policies().iter().map(|policy| format!("{policy:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_flipped_bit_is_never_another_policy(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let (root, files, said_before) = shared();
        let mut files = files.clone();
        let names: Vec<String> = files.keys().cloned().collect();
        let bytes = files.get_mut(&names[which.index(names.len())]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut node = TrustedPolicies::new(root).unwrap();
        if node.take(&files, NOW).is_ok() {
            prop_assert_eq!(&said(&node), said_before);
        }
        let mut pinned = root.clone();
        let at = at % pinned.len();
        pinned[at] ^= 1 << bit;
        if let Ok(mut node) = TrustedPolicies::new(&pinned) {
            // Only what no signature covers may have changed: a surplus signature, or white space.
            files.insert("1.root.json".to_owned(), pinned);
            if node.take(&shared().1, NOW).is_ok() {
                prop_assert_eq!(&said(&node), said_before);
            }
        }
    }
}
