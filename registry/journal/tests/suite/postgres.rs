//! Promises of the journal in a PostgreSQL server.

use serde_json::json;
use tamis_harness::{Postgres, Relay};
use tamis_journal::{Head, Journal, JournalError, Record};
use tokio_postgres::{Client, NoTls};

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn note(number: u32) -> Record {
    Record { kind: "note".into(), body: json!({ "number": number }) }
}

#[tokio::test]
async fn a_tampered_column_of_any_row_is_found_by_check() {
    let server = Postgres::shared();
    let columns = [
        ("revision", "revision + 100"),
        ("time_ms", "time_ms + 1"),
        ("time_ms", "-time_ms"),
        ("actor", "'eve'"),
        ("kind", "'note-b'"),
        ("body", "replace(body, ':', ': ')"),
        ("previous", "'\\x00'"),
        ("hash", "sha256('')"),
    ];
    for (column, value) in columns {
        for revision in [1_i64, 3, 5] {
            let url = server.database();
            let journal = Journal::postgres(&url).await.unwrap();
            for number in 1..=5 {
                journal.append(None, u64::from(number), "ada", &[note(number)]).await.unwrap();
            }
            journal.check().await.unwrap();
            let sql = format!("UPDATE journal SET {column} = {value} WHERE revision = $1");
            let changed = connect(&url).await.unwrap().execute(&sql, &[&revision]).await.unwrap();
            assert_eq!(changed, 1);
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
async fn a_lost_connection_is_made_again() {
    let server = Postgres::shared();
    let url = server.database();
    let journal = Journal::postgres(&url).await.unwrap();
    let admin = connect(&url).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for turn in 0..5 {
        admin.execute(end, &[]).await.unwrap();
        let head = journal.append(Some(turn), 1, "ada", &[note(1)]).await.unwrap();
        admin.execute(end, &[]).await.unwrap();
        assert_eq!(journal.head().await.unwrap(), head);
        admin.execute(end, &[]).await.unwrap();
        assert_eq!(journal.read(turn, 10).await.unwrap().len(), 1);
    }
    assert_eq!(journal.check().await.unwrap().revision, 5);
}

#[tokio::test]
async fn a_server_that_stands_still_keeps_nobody_waiting_and_is_used_again_when_it_goes_on() {
    let (server, relay) = (Postgres::shared(), Relay::start());
    let url = server.database();
    let (_, place) = url.split_once('@').unwrap();
    let (address, database) = place.split_once('/').unwrap();
    relay.to(&[address]);
    let through = format!("postgres://tamis@{}/{database}", relay.address());
    let journal = Journal::postgres(&format!("{through}?tcp_user_timeout=1")).await.unwrap();
    let head = journal.append(Some(0), 1, "ada", &[note(1)]).await.unwrap();
    let ends = async |act: &str| {
        let limit = std::time::Duration::from_secs(300);
        let done = async {
            match act {
                "head" => journal.head().await.map(drop),
                "read" => journal.read(0, 10).await.map(drop),
                _ => journal.append(Some(9), 1, "ada", &[note(2)]).await.map(drop),
            }
        };
        tokio::time::timeout(limit, done).await.unwrap_or_else(|_| panic!("{act} waits for ever"))
    };
    for act in ["head", "read", "append"] {
        // A connection that was open before, and one that is opened now.
        assert_eq!(journal.head().await.unwrap(), head, "{act}");
        relay.hold(true);
        for _ in 0..2 {
            let said = ends(act).await.unwrap_err();
            let said = std::error::Error::source(&said).unwrap().to_string();
            assert_eq!(said, "PostgreSQL did not respond for 1 s", "{act}");
        }
        relay.hold(false);
    }
    assert_eq!(journal.append(Some(1), 1, "ada", &[note(3)]).await.unwrap().revision, 2);
    assert_eq!(journal.check().await.unwrap().revision, 2);
}

#[tokio::test]
async fn servers_that_begin_at_once_share_one_order_and_hear_of_each_other() {
    let server = Postgres::shared();
    let url = server.database();
    let open = async || Journal::postgres(&url).await.unwrap();
    let (one, two, three) = tokio::join!(open(), open(), open());
    let append = async |journal: &Journal| {
        for number in 0..10 {
            journal.append(None, 1, "ada", &[note(number)]).await.unwrap();
        }
    };
    let follow = async {
        let mut read = Head::default();
        while read.revision < 20 {
            three.wait(&read).await.unwrap();
            for entry in three.read(read.revision, 5).await.unwrap() {
                assert_eq!(entry.revision, read.revision + 1);
                read = Head { revision: entry.revision, hash: entry.hash };
            }
        }
    };
    tokio::join!(append(&one), append(&two), follow);
    assert_eq!(two.check().await.unwrap().revision, 20);
}

#[tokio::test]
async fn an_address_that_nobody_answers_is_told() {
    let refused = Journal::postgres("postgres://tamis@127.0.0.1:1/none").await;
    assert!(matches!(refused, Err(JournalError::Storage { .. })), "{refused:?}");
    assert!(matches!(Journal::postgres("nonsense").await, Err(JournalError::Storage { .. })));
}
