//! Promises of the journal on every storage.

use std::time::Duration;

use serde_json::json;
use tamis_journal::{Hash, Head, Journal, JournalError, MAX_ENTRY_BYTES, Record};
use tokio::task::JoinSet;

use crate::store::{Store, on_every_store};

on_every_store!(
    an_empty_journal_has_revision_zero,
    what_is_appended_is_read_in_order_and_linked,
    an_append_that_expects_another_head_writes_nothing,
    concurrent_appends_have_no_gap_and_stay_whole,
    of_concurrent_appends_that_expect_one_head_one_wins,
    time_never_goes_back,
    records_that_break_a_rule_are_refused_whole,
    an_entry_of_the_largest_size_is_taken_and_one_more_byte_is_not,
    a_waiter_is_woken_by_an_append,
    a_reader_pages_through_all,
);

fn note(text: &str) -> Record {
    Record { kind: "note".to_owned(), body: json!({ "text": text, "a": [1, -2, true, null] }) }
}

async fn an_empty_journal_has_revision_zero(store: Store) {
    let journal = store.journal;
    assert_eq!(journal.head().await.unwrap(), Head { revision: 0, hash: Hash::ZERO });
    assert_eq!(journal.read(0, 10).await.unwrap(), []);
    assert_eq!(journal.append(Some(0), 1, "ada", &[]).await.unwrap(), Head::default());
    assert_eq!(journal.check().await.unwrap(), Head::default());
}

async fn what_is_appended_is_read_in_order_and_linked(store: Store) {
    let journal = store.journal;
    journal.append(None, 5, "ada", &[note("one"), note("two \u{0} ü")]).await.unwrap();
    let head = journal.append(Some(2), 6, "bob", &[note("three")]).await.unwrap();
    let entries = journal.read(0, 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.revision).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(entries.iter().map(|entry| entry.time_ms).collect::<Vec<_>>(), [5, 5, 6]);
    assert_eq!(entries[1].record, note("two \u{0} ü"));
    let mut previous = Hash::ZERO;
    for entry in &entries {
        assert_eq!(entry.previous, previous);
        previous = Hash::link(&previous, &entry.leaf().unwrap());
        assert_eq!(entry.hash, previous);
    }
    assert_eq!(head, Head { revision: 3, hash: previous });
    assert_eq!(journal.head().await.unwrap(), head);
    assert_eq!(journal.check().await.unwrap(), head);
}

async fn an_append_that_expects_another_head_writes_nothing(store: Store) {
    let journal = store.journal;
    let head = journal.append(Some(0), 1, "ada", &[note("one")]).await.unwrap();
    for expect in [0, 2, u64::MAX] {
        match journal.append(Some(expect), 1, "bob", &[note("two")]).await {
            Err(JournalError::Conflict { head: there }) => assert_eq!(there, head),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(journal.head().await.unwrap(), head);
}

async fn concurrent_appends_have_no_gap_and_stay_whole(store: Store) {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let journal = store.journal.clone();
        writers.spawn(async move {
            for turn in 0..6 {
                let records =
                    [note(&format!("{writer}/{turn}/a")), note(&format!("{writer}/{turn}/b"))];
                journal.append(None, turn, "writer", &records).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let entries = store.journal.read(0, 1_000).await.unwrap();
    assert_eq!(entries.len(), 96);
    assert!(entries.iter().zip(1..).all(|(entry, revision)| entry.revision == revision));
    for pair in entries.chunks(2) {
        let text = |index: usize| pair[index].record.body["text"].as_str().unwrap().to_owned();
        assert_eq!(text(0).strip_suffix('a'), text(1).strip_suffix('b'));
    }
    assert_eq!(store.journal.check().await.unwrap().revision, 96);
}

async fn of_concurrent_appends_that_expect_one_head_one_wins(store: Store) {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let journal = store.journal.clone();
        writers.spawn(async move {
            match journal.append(Some(0), 1, &format!("writer {writer}"), &[note("mine")]).await {
                Ok(_) => true,
                Err(JournalError::Conflict { .. }) => false,
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    let won = writers.join_all().await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(store.journal.head().await.unwrap().revision, 1);
}

async fn time_never_goes_back(store: Store) {
    let journal = store.journal;
    for time in [100, 50, 101] {
        journal.append(None, time, "ada", &[note("tick")]).await.unwrap();
    }
    let entries = journal.read(0, 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.time_ms).collect::<Vec<_>>(), [100, 100, 101]);
    let late = journal.append(None, u64::MAX, "ada", &[note("late")]).await;
    assert!(matches!(late, Err(JournalError::Time(u64::MAX))), "{late:?}");
}

async fn records_that_break_a_rule_are_refused_whole(store: Store) {
    let journal = store.journal;
    let long = "k".repeat(65);
    for kind in ["", "Note", "a--b", "-a", "a-", "1a", "a b", "ä", long.as_str()] {
        let bad = Record { kind: kind.to_owned(), body: json!(null) };
        let refused = journal.append(None, 1, "ada", &[note("good"), bad]).await;
        assert!(matches!(refused, Err(JournalError::Kind(_))), "{kind:?}: {refused:?}");
    }
    for actor in ["", "a\u{0}b", "a\nb", "a".repeat(1_025).as_str()] {
        let refused = journal.append(None, 1, actor, &[note("good")]).await;
        assert!(matches!(refused, Err(JournalError::Actor(_))), "{actor:?}: {refused:?}");
    }
    let deep = (0..500).fold(json!(1), |inner, _| json!([inner]));
    let refused =
        journal.append(None, 1, "ada", &[Record { kind: "deep".into(), body: deep }]).await;
    assert!(matches!(refused, Err(JournalError::Body { .. })), "{refused:?}");
    assert_eq!(journal.head().await.unwrap().revision, 0);
}

async fn an_entry_of_the_largest_size_is_taken_and_one_more_byte_is_not(store: Store) {
    let journal = store.journal;
    let large = |bytes: usize| Record { kind: "large".into(), body: json!("x".repeat(bytes)) };
    journal.append(None, 1, "ada", &[large(10)]).await.unwrap();
    let frame = journal.read(0, 1).await.unwrap()[0].canonical().unwrap().len() - 10;
    let fits = MAX_ENTRY_BYTES - frame;
    let refused = journal.append(None, 1, "ada", &[large(fits + 1)]).await;
    assert!(matches!(refused, Err(JournalError::TooLarge { bytes: 65_536, .. })), "{refused:?}");
    journal.append(None, 1, "ada", &[large(fits)]).await.unwrap();
    assert_eq!(journal.read(1, 1).await.unwrap()[0].canonical().unwrap().len(), MAX_ENTRY_BYTES);
}

async fn a_waiter_is_woken_by_an_append(store: Store) {
    let journal = store.journal;
    let waiter = |journal: Journal| tokio::spawn(async move { wait_past(&journal, 0).await });
    let waiting = waiter(journal.clone());
    journal.append(None, 1, "ada", &[note("ding")]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    // A past event needs no wait.
    tokio::time::timeout(Duration::from_secs(30), journal.wait(&Head::default()))
        .await
        .unwrap()
        .unwrap();
}

/// Wake-ups may be spurious, so a waiter checks.
async fn wait_past(journal: &Journal, after: u64) {
    loop {
        let head = journal.head().await.unwrap();
        if head.revision > after {
            return;
        }
        journal.wait(&head).await.unwrap();
    }
}

async fn a_reader_pages_through_all(store: Store) {
    let records: Vec<_> = (0..25).map(|number| note(&number.to_string())).collect();
    store.journal.append(None, 1, "ada", &records).await.unwrap();
    let mut read = Vec::new();
    loop {
        let after = read.len().try_into().unwrap();
        let page = store.journal.read(after, 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        read.extend(page.into_iter().map(|entry| entry.record));
    }
    assert_eq!(read, records);
    assert_eq!(store.journal.read(u64::MAX, 10).await.unwrap(), []);
    assert_eq!(store.journal.read(0, 0).await.unwrap(), []);
}
