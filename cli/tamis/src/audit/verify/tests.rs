//! Proofs of a real journal hold; any change to them is found.

use super::*;
use tamis_journal::log::{Log, NoteKey};
use tamis_journal::{Journal, Record};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn note_key(seed: u8) -> NoteKey {
    NoteKey::from_seed("log.example/shop", &[seed; 32]).unwrap()
}

const OTHER: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const NODE: &str = "sidecar:shop/a/0";

/// A report: what runs in the slot, and since when.
fn report(node: &str, running: Option<(&str, u64)>) -> Record {
    let running = running
        .map(|(digest, since)| json!({ "digest": digest, "version": "1.4.2", "since_ms": since }));
    let slot = json!({ "slot": "retry", "filter": "acme/retry", "running": running });
    let again = json!({ "digest": OTHER, "version": "1.4.2", "since_ms": 1 });
    let again = json!({ "slot": "retry", "filter": "acme/retry", "running": again });
    let body = json!({ "node": node, "slots": [slot, again] });
    Record { kind: "node-reported".into(), body }
}

/// An answer about a journal of eight entries, with all of them in the proof: a run that began at the report before its first
/// one, since the proxy said an earlier moment, and ended at the moment that the proxy said.
fn answer() -> RunHistory {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::sqlite(folder.path()).await.unwrap();
        let other = Record { kind: "other".into(), body: json!({ "node": NODE }) };
        let entries = [
            (100, other),
            (500, report(NODE, None)),
            (700, report("sidecar:shop/a/1", Some((DIGEST, 600)))),
            (1_000, report(NODE, Some((DIGEST, 400)))),
            (1_500, report(NODE, Some((DIGEST, 400)))),
            (2_000, report("sidecar:shop/b/0", Some((DIGEST, 1_900)))),
            (2_500, report(NODE, Some((OTHER, 2_200)))),
            (3_000, report(NODE, None)),
        ];
        let size = entries.len() as u64;
        for (before, (time_ms, record)) in (0..).zip(entries) {
            journal.append(Some(before), time_ms, "ada", &[record]).await.unwrap();
        }
        let log = Log::open(journal.clone()).await.unwrap();
        let mut proven = Vec::new();
        for revision in 1..=size {
            let entry = journal.read(revision - 1, 1).await.unwrap().remove(0);
            let hashes = log.inclusion(revision, size).await.unwrap();
            proven.push(ProvenEntry {
                revision,
                canonical: String::from_utf8(entry.canonical().unwrap()).unwrap(),
                hashes: hashes.iter().map(ToString::to_string).collect(),
            });
        }
        let run = RunView {
            node: NODE.into(),
            slot: "retry".into(),
            filter: "acme/retry".into(),
            digest: DIGEST.into(),
            version: "1.4.2".into(),
            from_ms: 500,
            until_ms: Some(2_200),
            seen_ms: 1_500,
            revision: 4,
            from_revision: Some(2),
            seen_revision: 5,
            until_revision: Some(7),
        };
        let checkpoint = log.checkpoint(&note_key(7)).await.unwrap();
        let key = note_key(7).verifier().to_string();
        let proof = Proof { key, checkpoint, entries: proven };
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
    assert_eq!((proven.size, proven.entries.len()), (8, 8));
    let error = who_ran(&answer(), note_key(8).verifier()).unwrap_err();
    assert!(error.to_string().contains("did not sign"), "{error}");
}

#[test]
fn what_the_log_says_in_other_ways_holds_too() {
    let holds = |change: &dyn Fn(&mut RunHistory)| {
        let mut ran = answer();
        change(&mut ran);
        who_ran(&ran, note_key(7).verifier()).unwrap();
    };
    // It is not known to have ended: what came later is not in the answer.
    holds(&|ran| (ran.runs[0].until_ms, ran.runs[0].until_revision) = (None, None));
    // What came after it, which ended with a report.
    holds(&|ran| {
        let run = &mut ran.runs[0];
        run.digest = OTHER.into();
        (run.from_ms, run.revision, run.from_revision) = (2_200, 7, None);
        (run.seen_ms, run.seen_revision) = (2_500, 7);
        (run.until_ms, run.until_revision) = (Some(3_000), Some(8));
        ran.at_ms = 2_900;
    });
    // In a range of time.
    holds(&|ran| (ran.at_ms, ran.to_ms) = (0, Some(9_000)));
}

#[test]
fn whatever_is_changed_is_found() {
    let said = refused(|ran| {
        ran.proof.entries[3].canonical =
            answer().proof.entries[3].canonical.replace("1.4.2", "1.4.3");
    });
    assert!(said.contains("another root"), "{said}");
    let said =
        refused(|ran| ran.proof.checkpoint = ran.proof.checkpoint.replacen("\n8\n", "\n9\n", 1));
    assert!(said.contains("signature does not hold"), "{said}");
    refused(|ran| ran.proof.entries[0].hashes.clear());
    refused(|ran| ran.proof.entries[0].hashes[0] = "x".into());
    refused(|ran| ran.proof.entries[0].revision = 4);
    refused(|ran| ran.proof.entries[0].revision = 0);
    refused(|ran| ran.proof.entries.clear());
}

/// A change of the one run of an answer.
type Lie = fn(&mut RunView);
/// A change of an answer.
type AnswerLie = fn(&mut RunHistory);

#[test]
fn an_answer_that_says_more_than_its_entries_is_found() {
    let lies: &[(&str, Lie, &str)] = &[
        ("digest", |run| run.digest = OTHER.into(), "entry 4 does not report this"),
        ("version", |run| run.version = "1.4.3".into(), "entry 4 reports version 1.4.2"),
        ("filter", |run| run.filter = "acme/jwt".into(), "entry 4 does not report this"),
        ("slot", |run| run.slot = "jwt".into(), "entry 4 does not report this"),
        ("proxy", |run| run.node = "sidecar:shop/a/1".into(), "entry 4 is not a report of this"),
        ("service", |run| run.node = "sidecar:shop/b/0".into(), "does not belong to shop/a"),
        ("no report", |run| run.revision = 1, "entry 1 is not a report of this proxy"),
        ("no entry", |run| run.revision = 9, "entry 9 is not in the proof"),
        // The beginning.
        ("earlier", |run| run.from_ms = 0, "its beginning: the answer says"),
        ("as the proxy said", |run| run.from_ms = 400, "its beginning: the answer says"),
        ("later", |run| run.from_ms = 999, "its beginning: the answer says"),
        ("unbounded", |run| run.from_revision = None, "its beginning: the answer says"),
        (
            "unbounded, earlier",
            |run| (run.from_ms, run.from_revision) = (399, None),
            "its beginning: the answer says",
        ),
        (
            "another proxy's",
            |run| (run.from_ms, run.from_revision) = (700, Some(3)),
            "entry 3 is not a report of this proxy",
        ),
        (
            "its own bound",
            |run| (run.from_ms, run.from_revision) = (1_000, Some(4)),
            "entry 4 does not bound it",
        ),
        (
            "a later bound",
            |run| (run.from_ms, run.from_revision) = (1_500, Some(5)),
            "entry 5 does not bound it",
        ),
        // The last report.
        ("seen later", |run| run.seen_ms = 1_600, "entry 5 is not its last report"),
        ("seen earlier", |run| run.seen_ms = 1_000, "entry 5 is not its last report"),
        (
            "seen when others ran",
            |run| (run.seen_ms, run.seen_revision) = (2_500, 7),
            "entry 7 is not its last report",
        ),
        (
            "seen before it began",
            |run| (run.seen_ms, run.seen_revision) = (500, 2),
            "entry 2 is not its last report",
        ),
        (
            "seen at another proxy",
            |run| (run.seen_ms, run.seen_revision) = (2_000, 6),
            "entry 6 is not a report of this proxy",
        ),
        ("not proven", |run| run.seen_revision = 0, "earlier release"),
        // The end.
        ("ends later", |run| run.until_ms = Some(2_300), "its end: the answer says"),
        ("ends earlier", |run| run.until_ms = Some(2_100), "its end: the answer says"),
        ("ends at the report", |run| run.until_ms = Some(2_500), "its end: the answer says"),
        (
            "no entry of the end",
            |run| run.until_revision = None,
            "its end lacks the journal entry or the time",
        ),
        (
            "no moment of the end",
            |run| run.until_ms = None,
            "its end lacks the journal entry or the time",
        ),
        (
            "ends at a later report",
            |run| (run.until_ms, run.until_revision) = (Some(9_000), Some(8)),
            "its end: the answer says",
        ),
        (
            "ends while it runs",
            |run| {
                (run.seen_ms, run.seen_revision) = (1_000, 4);
                (run.until_ms, run.until_revision) = (Some(1_500), Some(5));
            },
            "its times are not those of the question",
        ),
        (
            "ends at another proxy",
            |run| (run.until_ms, run.until_revision) = (Some(2_001), Some(6)),
            "entry 6 is not a report of this proxy",
        ),
    ];
    for (what, lie, says) in lies {
        let said = refused(|ran| lie(&mut ran.runs[0]));
        assert!(said.contains(says), "{what}: {said}");
    }
    let said = refused(|ran| {
        let run = &mut ran.runs[0];
        (run.seen_ms, run.seen_revision) = (1_000, 4);
        (run.until_ms, run.until_revision) = (Some(1_500), Some(5));
        ran.at_ms = 1_200;
    });
    assert!(said.contains("entry 5 still reports it"), "{said}");
    let said = refused(|ran| ran.service = "shop/b".into());
    assert!(said.contains("does not belong to shop/b"), "{said}");
    let said = refused(|ran| ran.at_ms = 2_200);
    assert!(said.contains("not those of the question"), "{said}");
    let said = refused(|ran| ran.runs.push(ran.runs[0].clone()));
    assert!(said.contains("entry 4 appears twice"), "{said}");
}

#[test]
fn an_answer_to_another_question_is_found() {
    let asked = |change: &dyn Fn(&mut RunHistory)| {
        let mut ran = answer();
        change(&mut ran);
        answers(&ran, "shop/a", 2_000, None).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(asked(&|_| {}), Ok(()));
    assert_eq!(asked(&|ran| ran.runs.clear()), Ok(()));
    let rows: &[(&str, AnswerLie, &str)] = &[
        ("another service", |ran| ran.service = "shop/b".into(), "another question"),
        (
            "another service, with its proxies",
            |ran| {
                ran.service = "shop/b".into();
                ran.runs[0].node = "sidecar:shop/b/0".into();
            },
            "what ran for shop/b",
        ),
        (
            "another service, and nothing ran",
            |ran| {
                ran.service = "shop/b".into();
                ran.runs.clear();
            },
            "what ran for shop/b",
        ),
        ("its proxies", |ran| ran.runs[0].node = "sidecar:shop/b/0".into(), "does not belong"),
        ("no proxy", |ran| ran.runs[0].node = "shop/a".into(), "does not belong"),
        ("another moment", |ran| ran.at_ms = 1_999, "another question"),
        ("a range", |ran| ran.to_ms = Some(2_000), "another question"),
        ("before", |ran| ran.runs[0].until_ms = Some(2_000), "not those of the question"),
        ("after", |ran| ran.runs[0].from_ms = 2_001, "not those of the question"),
    ];
    for (what, change, says) in rows {
        let said = asked(change).unwrap_err();
        assert!(said.contains(says), "{what}: {said}");
    }
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
