use proptest::prelude::*;
use serde_json::json;
use tamis_journal::{Hash, Record};

use super::*;

/// A view of these changes, one entry each, a millisecond apart.
fn folded(changes: &[Change]) -> RegistryView {
    let mut view = RegistryView::default();
    for change in changes {
        apply(&mut view, change.record().unwrap());
    }
    view
}

fn apply(view: &mut RegistryView, record: Record) {
    let revision = view.revision() + 1;
    let entry = Entry {
        revision,
        time_ms: revision,
        actor: "test".to_owned(),
        record,
        previous: Hash::ZERO,
        hash: Hash::ZERO,
    };
    view.apply(&entry, ());
}

fn repository(number: u8) -> Repository {
    format!("r/{number}").parse().unwrap()
}

fn digest(number: u8) -> BlobDigest {
    BlobDigest::of(&[number])
}

fn put(repository: Repository, manifest: u8, blobs: &[u8], tags: &[&str]) -> Change {
    Change::ManifestPut {
        repository,
        digest: digest(manifest),
        media_type: "a/b".to_owned(),
        size: 1,
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        subject: (manifest > 250).then(|| digest(1)),
        artifact_type: None,
        blobs: blobs.iter().map(|number| digest(*number)).collect(),
        manifests: Vec::new(),
    }
}

#[test]
fn a_deleted_manifest_takes_its_tags_along_and_versions_are_remembered() {
    let view = folded(&[
        put(repository(0), 9, &[1], &["1.0.0", "latest"]),
        Change::ManifestDeleted { repository: repository(0), digest: digest(9) },
    ]);
    assert!(view.contents(&repository(0)).is_none());
    let contents = &view.repositories[&repository(0)];
    assert!(contents.tags.is_empty() && !contents.uses(&digest(1)));
    assert_eq!(contents.versions[&"1.0.0".parse().unwrap()], digest(9));
}

#[test]
fn a_tag_of_a_manifest_that_is_not_there_is_not_made() {
    let tag = || "x".parse::<Tag>().unwrap();
    let view = folded(&[
        put(repository(0), 9, &[], &[]),
        Change::TagPut { repository: repository(0), tag: tag(), digest: digest(8) },
    ]);
    assert!(view.contents(&repository(0)).unwrap().tags.is_empty());
}

#[test]
fn the_same_manifest_put_twice_counts_once() {
    let delete = Change::ManifestDeleted { repository: repository(0), digest: digest(255) };
    let put = put(repository(0), 255, &[1, 2], &[]);
    let view = folded(&[put.clone(), put, delete]);
    let contents = &view.repositories[&repository(0)];
    assert!(contents.uses.is_empty() && contents.referrers.is_empty());
}

#[test]
fn blobs_that_records_of_others_speak_of_are_referred_to() {
    let mut view = RegistryView::default();
    let body = json!({ "policy": digest(7) });
    apply(&mut view, Record { kind: "policy-put".to_owned(), body });
    assert!(view.refers_to(&digest(7)) && !view.refers_to(&digest(8)));
}

#[test]
fn an_entry_that_is_not_the_next_changes_nothing() {
    let mut view = folded(&[put(repository(0), 9, &[1], &[])]);
    let before = view.clone();
    let record = put(repository(0), 8, &[], &[]).record().unwrap();
    for revision in [0, 1, 3] {
        let (previous, hash) = (Hash::ZERO, Hash::ZERO);
        let (actor, record) = ("test".to_owned(), record.clone());
        view.apply(&Entry { revision, time_ms: 1, actor, record, previous, hash }, ());
        assert_eq!(view, before);
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let number = || 0_u8..4;
    let tag = prop_oneof![Just("latest"), Just("1.0.0"), Just("2.0.0")];
    prop_oneof![
        (number(), number()).prop_map(|(r, d)| Change::BlobLinked {
            repository: repository(r),
            digest: digest(d),
            size: 1
        }),
        (number(), number()).prop_map(|(r, d)| Change::BlobUnlinked {
            repository: repository(r),
            digest: digest(d)
        }),
        (number(), 248_u8..255, prop::collection::vec(number(), 0..3), tag.clone())
            .prop_map(|(r, m, blobs, tag)| put(repository(r), m, &blobs, &[tag])),
        (number(), 248_u8..255).prop_map(|(r, m)| Change::ManifestDeleted {
            repository: repository(r),
            digest: digest(m)
        }),
        (number(), 248_u8..255, tag.clone()).prop_map(|(r, m, tag)| Change::TagPut {
            repository: repository(r),
            tag: tag.parse().unwrap(),
            digest: digest(m)
        }),
        (number(), tag).prop_map(|(r, tag)| Change::TagDeleted {
            repository: repository(r),
            tag: tag.parse().unwrap()
        }),
    ]
}

proptest! {
    #[test]
    fn what_the_view_keeps_twice_always_agrees(changes in prop::collection::vec(any_change(), 0..60)) {
        let view = folded(&changes);
        let mut blobs: BTreeMap<BlobDigest, BTreeSet<Repository>> = BTreeMap::new();
        let mut manifests = blobs.clone();
        for (name, contents) in &view.repositories {
            let mut uses: BTreeMap<BlobDigest, usize> = BTreeMap::new();
            let mut referrers: BTreeMap<BlobDigest, BTreeSet<BlobDigest>> = BTreeMap::new();
            for digest in contents.blobs.keys() {
                blobs.entry(digest.clone()).or_default().insert(name.clone());
            }
            for (digest, kept) in &contents.manifests {
                manifests.entry(digest.clone()).or_default().insert(name.clone());
                for blob in &kept.blobs {
                    *uses.entry(blob.clone()).or_default() += 1;
                }
                if let Some(subject) = &kept.subject {
                    referrers.entry(subject.clone()).or_default().insert(digest.clone());
                }
            }
            prop_assert_eq!(&contents.uses, &uses);
            prop_assert_eq!(&contents.referrers, &referrers);
            prop_assert!(contents.tags.values().all(|named| contents.manifests.contains_key(named)));
        }
        prop_assert_eq!(&view.blob_holders, &blobs);
        prop_assert_eq!(&view.manifest_holders, &manifests);
    }
}

#[test]
fn no_namespace_crowds_out_what_another_says_about_an_artifact() {
    let about = |repository: &str, number: u16| Change::ManifestPut {
        repository: repository.parse().unwrap(),
        digest: BlobDigest::of(&number.to_be_bytes()),
        media_type: "a/b".to_owned(),
        size: 1,
        tags: Vec::new(),
        subject: Some(digest(1)),
        artifact_type: Some("bundle".to_owned()),
        blobs: Vec::new(),
        manifests: Vec::new(),
    };
    // Before the one who signs does, and in as many repositories of its own as it likes.
    let mut all: Vec<Change> = (0..1_000).map(|at| about(&format!("acme/r{at}"), at)).collect();
    all.extend([about("tamis/jwt", 2_000), about("tamis/jwt", 2_001), about("acme/copy", 2_000)]);
    let view = folded(&all);
    let found = view.referrers_of(&digest(1), "bundle");
    assert_eq!(found.len(), 1_002);
    let at = |number: u16| {
        let digest = BlobDigest::of(&number.to_be_bytes());
        found.iter().position(|one| one.digest == digest).unwrap()
    };
    assert_eq!((at(0), at(2_000), at(1), at(2_001)), (0, 1, 2, 3));
    // Its place in the journal is where it came first, whoever copied it.
    assert_eq!(found[1].revision, 1_001);
}
