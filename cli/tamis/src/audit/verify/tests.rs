//! Proofs of a real journal hold; any change to them is found.

use super::*;
use tamis_journal::log::{Log, NoteKey};
use tamis_journal::{Journal, Record};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn note_key(seed: u8) -> NoteKey {
    NoteKey::from_seed("log.example/shop", &[seed; 32]).unwrap()
}

fn report() -> Record {
    let running = json!({ "digest": DIGEST, "version": "1.4.2", "since_ms": 1 });
    let slot = json!({ "slot": "retry", "filter": "acme/retry", "running": running });
    let body = json!({ "node": "sidecar:shop/a/0", "slots": [slot] });
    Record { kind: "node-reported".into(), body }
}

/// An answer about a journal of five entries, the third of which is the report.
fn answer() -> RunHistory {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::sqlite(folder.path()).await.unwrap();
        let other = |number: u64| Record { kind: "other".into(), body: json!({ "n": number }) };
        let records = [other(1), other(2), report(), other(4), other(5)];
        journal.append(Some(0), 1_000, "ada", &records).await.unwrap();
        let log = Log::open(journal.clone()).await.unwrap();
        let entry = journal.read(2, 1).await.unwrap().remove(0);
        let hashes = log.inclusion(3, 5).await.unwrap();
        let proven = ProvenEntry {
            revision: 3,
            canonical: String::from_utf8(entry.canonical().unwrap()).unwrap(),
            hashes: hashes.iter().map(ToString::to_string).collect(),
        };
        let run = RunView {
            node: "sidecar:shop/a/0".into(),
            slot: "retry".into(),
            filter: "acme/retry".into(),
            digest: DIGEST.into(),
            version: "1.4.2".into(),
            from_ms: 1_000,
            until_ms: None,
            seen_ms: 1_000,
            revision: 3,
        };
        let checkpoint = log.checkpoint(&note_key(7)).await.unwrap();
        let key = note_key(7).verifier().to_string();
        let proof = Proof { key, checkpoint, entries: vec![proven] };
        RunHistory { service: "shop/a".into(), at_ms: 2_000, to_ms: None, runs: vec![run], proof }
    })
}

fn refused(change: impl FnOnce(&mut RunHistory)) -> String {
    let mut ran = answer();
    change(&mut ran);
    format!("{:#}", who_ran(&ran, note_key(7).verifier()).unwrap_err())
}

#[test]
fn a_proof_holds_with_the_key_of_the_log_and_with_no_other() {
    let proven = who_ran(&answer(), note_key(7).verifier()).unwrap();
    assert_eq!((proven.size, proven.entries.len()), (5, 1));
    let error = who_ran(&answer(), note_key(8).verifier()).unwrap_err();
    assert!(error.to_string().contains("did not sign"), "{error}");
}

#[test]
fn whatever_is_changed_is_found() {
    let said = refused(|ran| {
        ran.proof.entries[0].canonical =
            answer().proof.entries[0].canonical.replace("1.4.2", "1.4.3");
    });
    assert!(said.contains("another root"), "{said}");
    let said =
        refused(|ran| ran.proof.checkpoint = ran.proof.checkpoint.replacen("\n5\n", "\n6\n", 1));
    assert!(said.contains("signature does not hold"), "{said}");
    refused(|ran| ran.proof.entries[0].hashes.clear());
    refused(|ran| ran.proof.entries[0].hashes[0] = "x".into());
    refused(|ran| ran.proof.entries[0].revision = 4);
    refused(|ran| ran.proof.entries[0].revision = 0);
    refused(|ran| ran.proof.entries.clear());
}

#[test]
fn an_answer_that_says_more_than_its_entries_is_found() {
    refused(|ran| ran.runs[0].digest = DIGEST.replace('0', "1"));
    refused(|ran| ran.runs[0].version = "1.4.3".into());
    refused(|ran| ran.runs[0].slot = "jwt".into());
    refused(|ran| ran.runs[0].node = "sidecar:shop/a/1".into());
    refused(|ran| ran.runs[0].revision = 2);
    refused(|ran| ran.runs[0].from_ms = 1_500);
    refused(|ran| ran.runs[0].until_ms = Some(1_500));
    let said = refused(|ran| ran.service = "shop/b".into());
    assert!(said.contains("does not belong to shop/b"), "{said}");
}

#[test]
fn files_and_keys_are_read_and_what_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let key_text = note_key(7).verifier().to_string();
    std::fs::write(path("log.pub"), format!("{key_text}\n")).unwrap();
    std::fs::write(path("a.json"), serde_json::to_vec(&answer()).unwrap()).unwrap();
    std::fs::write(path("b.json"), serde_json::to_vec(&answer().proof).unwrap()).unwrap();
    let check = |files: &[&str], log_key: &str| {
        let file = files.iter().map(|name| path(name)).collect();
        run(&Arguments { file, log_key: log_key.to_owned() }, Output::Json)
    };
    let log_pub = path("log.pub").display().to_string();
    assert!(
        check(&["a.json", "b.json"], &log_pub).is_ok() && check(&["a.json"], &key_text).is_ok()
    );
    assert!(check(&["none.json"], &key_text).is_err() && check(&["a.json"], "nothing").is_err());
    for bad in ["", "{}", "[]", r#"{"runs":7}"#] {
        std::fs::write(path("c.json"), bad).unwrap();
        let error = format!("{:#}", check(&["c.json"], &key_text).unwrap_err());
        assert!(error.contains("c.json"), "{error}");
    }
}
