//! The journal in one SQLite file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::watch;

use super::{Append, tail};
use crate::entry::{NextPlace, Row};
use crate::private::{close_file, private_file, private_folder};
use crate::{Head, JournalError};

/// How long a writer waits for the writer of another process.
const BUSY: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS journal (
        revision INTEGER PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        actor TEXT NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        previous BLOB NOT NULL,
        hash BLOB NOT NULL
    ) STRICT";

/// A handle. Calls block, so each runs on a blocking thread, one at a time: the journal is not the
/// bottleneck.
#[derive(Debug, Clone)]
pub(super) struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    bell: watch::Sender<u64>,
}

impl Sqlite {
    pub(super) async fn open(folder: &Path) -> Result<Self, JournalError> {
        let folder = folder.to_owned();
        let connection = blocking("open its file", move || open(&folder)).await?;
        let bell = watch::Sender::new(0);
        Ok(Self { connection: Arc::new(Mutex::new(connection)), bell })
    }

    pub(super) async fn append(&self, request: Append) -> Result<Head, JournalError> {
        let bell = self.bell.clone();
        self.run("append", move |connection| {
            let head = append(connection, &request)?;
            bell.send_replace(head.revision);
            Ok(head)
        })
        .await
    }

    pub(super) async fn read(&self, after: u64, limit: usize) -> Result<Vec<Row>, JournalError> {
        // SQLite has no larger numbers, so there is nothing to read.
        let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.run("read", move |connection| rows(connection, after, limit)).await
    }

    pub(super) async fn head(&self) -> Result<Head, JournalError> {
        self.run("read its head", |connection| Ok(last(connection)?.head)).await
    }

    /// Notifies of appends by this process.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    async fn run<T: Send + 'static>(
        &self,
        act: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let connection = Arc::clone(&self.connection);
        blocking(act, move || {
            // A transaction left by a panic was rolled back when it was dropped: the connection is usable.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    act: &'static str,
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|stopped| JournalError::other(act, stopped))?
}

/// The file of the journal in a folder.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("journal.sqlite")
}

fn open(folder: &Path) -> Result<Connection, JournalError> {
    let act = "open its file";
    let failed = |source| JournalError::other(act, source);
    private_folder(folder).map_err(failed)?;
    let path = file(folder);
    // SQLite gives the files next to it the same mode.
    private_file(&path).map_err(failed)?;
    for name in ["journal.sqlite-wal", "journal.sqlite-shm"] {
        close_file(&folder.join(name)).map_err(failed)?;
    }
    let mut connection = Connection::open(path).map_err(JournalError::storage(act))?;
    let storage = |source: rusqlite::Error| JournalError::storage(act)(source);
    connection.busy_timeout(BUSY).map_err(storage)?;
    // WAL alone may lose acknowledged appends in a power failure; FULL does not.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(storage)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(storage)?;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(storage)?;
    transaction.execute_batch(SCHEMA).map_err(storage)?;
    transaction.commit().map_err(storage)?;
    Ok(connection)
}

fn append(connection: &mut Connection, request: &Append) -> Result<Head, JournalError> {
    let storage = |source: rusqlite::Error| JournalError::storage("append")(source);
    // Immediate: the head stays as it was read until the commit.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(storage)?;
    let tail = last(&transaction)?;
    let mut head = tail.head;
    {
        let sql = "INSERT INTO journal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut insert = transaction.prepare_cached(sql).map_err(storage)?;
        for written in request.place(tail)? {
            let entry = written.entry;
            // Both fit: the time was checked, and revisions count up from 1.
            let revision = i64::try_from(entry.revision).unwrap_or(i64::MAX);
            let time_ms = i64::try_from(entry.time_ms).unwrap_or(i64::MAX);
            let (kind, body) = (entry.record.kind, written.body);
            let row = params![
                revision,
                time_ms,
                entry.actor,
                kind,
                body,
                entry.previous.0.as_slice(),
                entry.hash.0.as_slice()
            ];
            insert.execute(row).map_err(storage)?;
            head = Head { revision: entry.revision, hash: entry.hash };
        }
    }
    transaction.commit().map_err(storage)?;
    Ok(head)
}

fn last(connection: &Connection) -> Result<NextPlace, JournalError> {
    let storage = |source: rusqlite::Error| JournalError::other("read its head", source);
    let sql = "SELECT revision, time_ms, hash FROM journal ORDER BY revision DESC LIMIT 1";
    let mut select = connection.prepare_cached(sql).map_err(storage)?;
    let row = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    match row.optional().map_err(storage)? {
        Some((revision, time_ms, hash)) => tail(revision, time_ms, hash),
        None => Ok(NextPlace::default()),
    }
}

fn rows(connection: &Connection, after: i64, limit: i64) -> Result<Vec<Row>, JournalError> {
    let storage = |source: rusqlite::Error| JournalError::other("read", source);
    let sql = "SELECT revision, time_ms, actor, kind, body, previous, hash FROM journal
               WHERE revision > ?1 ORDER BY revision LIMIT ?2";
    let mut select = connection.prepare_cached(sql).map_err(storage)?;
    let mut found = select.query([after, limit]).map_err(storage)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(storage)? {
        let revision = row.get(0).map_err(storage)?;
        rows.push(Row {
            revision,
            time_ms: column(row, revision, 1)?,
            actor: column(row, revision, 2)?,
            kind: column(row, revision, 3)?,
            body: column(row, revision, 4)?,
            previous: column(row, revision, 5)?,
            hash: column(row, revision, 6)?,
        });
    }
    Ok(rows)
}

/// A column of the wrong type, or text that is not UTF-8, was not written by this program.
fn column<T: FromSql>(
    row: &rusqlite::Row<'_>,
    revision: i64,
    index: usize,
) -> Result<T, JournalError> {
    row.get(index).map_err(|_| JournalError::Tampered {
        revision: u64::try_from(revision).unwrap_or(0),
        what: "a column has the wrong type",
    })
}
