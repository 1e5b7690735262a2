//! Promises of the journal in a file.

use rusqlite::Connection;
use serde_json::json;
use tamis_journal::{Journal, JournalError, Record};
use tempfile::TempDir;

async fn five(folder: &TempDir) -> Journal {
    let journal = Journal::sqlite(folder.path()).await.unwrap();
    for number in 1..=5 {
        let record = Record { kind: "note".into(), body: json!({ "number": number }) };
        journal.append(None, 1_000 * number, "ada", &[record]).await.unwrap();
    }
    journal
}

#[tokio::test]
async fn a_tampered_column_of_any_row_is_found_by_check() {
    let columns = [
        ("revision", "revision + 100"),
        ("time_ms", "time_ms + 1"),
        ("time_ms", "-time_ms"),
        ("actor", "'eve'"),
        ("kind", "'note-b'"),
        ("body", "replace(body, ':', ': ')"),
        ("body", "'{}'"),
        ("body", "'{'"),
        ("previous", "zeroblob(33)"),
        ("previous", "randomblob(32)"),
        ("hash", "randomblob(32)"),
        ("hash", "x''"),
    ];
    for (column, value) in columns {
        for revision in 1..=5 {
            let folder = TempDir::new().unwrap();
            let journal = five(&folder).await;
            journal.check().await.unwrap();
            let file = Connection::open(folder.path().join("journal.sqlite")).unwrap();
            let sql = format!("UPDATE journal SET {column} = {value} WHERE revision = ?1");
            assert_eq!(file.execute(&sql, [revision]).unwrap(), 1);
            match journal.check().await {
                Err(JournalError::Tampered { revision: found, .. }) => {
                    assert_eq!(found, u64::try_from(revision).unwrap(), "{column} = {value}");
                }
                other => panic!("{column} = {value} of {revision}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_removed_row_is_found_by_check() {
    for revision in 1..=4 {
        let folder = TempDir::new().unwrap();
        let journal = five(&folder).await;
        let file = Connection::open(folder.path().join("journal.sqlite")).unwrap();
        file.execute("DELETE FROM journal WHERE revision = ?1", [revision]).unwrap();
        match journal.check().await {
            Err(JournalError::Tampered { revision: found, .. }) => {
                assert_eq!(found, u64::try_from(revision).unwrap());
            }
            other => panic!("{revision}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_reopened_journal_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let head = five(&folder).await.head().await.unwrap();
    let journal = Journal::sqlite(folder.path()).await.unwrap();
    assert_eq!(journal.head().await.unwrap(), head);
    let record = Record { kind: "note".into(), body: json!(6) };
    assert_eq!(journal.append(Some(5), 0, "bob", &[record]).await.unwrap().revision, 6);
    assert_eq!(journal.check().await.unwrap().revision, 6);
}

#[tokio::test]
async fn two_handles_on_one_file_append_to_one_order() {
    let folder = TempDir::new().unwrap();
    let journals = [five(&folder).await, Journal::sqlite(folder.path()).await.unwrap()];
    let record = || Record { kind: "note".into(), body: json!("both") };
    let append = async |journal: &Journal| {
        for _ in 0..20 {
            journal.append(None, 1, "ada", &[record()]).await.unwrap();
        }
    };
    tokio::join!(append(&journals[0]), append(&journals[1]));
    assert_eq!(journals[1].check().await.unwrap().revision, 45);
}
