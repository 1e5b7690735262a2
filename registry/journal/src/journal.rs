//! The journal: append, read, wait, check; with the same promises on SQLite and on PostgreSQL.

use std::path::Path;
use std::time::Duration;

use crate::entry::{NextPlace, check};
use crate::{Entry, Hash, Head, JournalError, Record};

mod postgres;
mod sqlite;

/// Most entries that one [`Journal::read`] returns.
pub const MAX_READ: usize = 10_000;

/// Longest sleep of [`Journal::wait`] between two checks, which is the delay after a lost notification.
const POLL: Duration = Duration::from_secs(1);
/// Entries that [`Journal::check`] holds at a time.
const CHECK_PAGE: usize = 1_000;

/// An append-only sequence of entries with one total order. A clone is another handle on the same journal.
///
/// Readers see entries in the order of their revisions and never skip one: when an entry is visible, all
/// before it are too.
#[derive(Debug, Clone)]
pub struct Journal {
    storage: Storage,
}

#[derive(Debug, Clone)]
enum Storage {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Journal {
    /// Opens or creates the journal in `folder` (`journal.sqlite`). Other processes may have it open.
    ///
    /// Appended entries survive a loss of power: WAL with `synchronous=FULL`.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the folder or the file cannot be created or opened.
    pub async fn sqlite(folder: &Path) -> Result<Self, JournalError> {
        Ok(Self { storage: Storage::Sqlite(sqlite::Sqlite::open(folder).await?) })
    }

    /// Whether a journal was created in `folder`.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        sqlite::file(folder).exists()
    }

    /// Opens or creates the journal in a PostgreSQL database (the table `journal` of its first schema). Any
    /// number of servers may have it open; a lost connection is opened again.
    ///
    /// `url` is a connection string of libpq, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. TLS is not
    /// supported: reach the server over loopback, a Unix socket or an encrypted network. A server that does
    /// not respond for 20 seconds counts as lost, unless the address sets `connect_timeout` and
    /// `tcp_user_timeout`, which then bounds each answer too. A connection pooler must pool sessions.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the server cannot be reached or the table cannot be created.
    pub async fn postgres(url: &str) -> Result<Self, JournalError> {
        Ok(Self { storage: Storage::Postgres(postgres::Postgres::open(url).await?) })
    }

    /// Appends all records or none and returns the new head. Durable when it returns.
    ///
    /// With `expect`, only if the head is still at that revision. `time_ms` is milliseconds since the Unix
    /// epoch; a time before that of the last entry is replaced by it. Without records, only `expect` is
    /// compared. If the future is dropped before it returns, the append may or may not have happened.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] when the head is elsewhere; [`JournalError::Kind`],
    /// [`JournalError::Actor`], [`JournalError::Body`], [`JournalError::TooLarge`] and
    /// [`JournalError::Time`] for invalid records; [`JournalError::Storage`], after which it may be unknown
    /// whether the append happened.
    pub async fn append(
        &self,
        expect: Option<u64>,
        time_ms: u64,
        actor: &str,
        records: &[Record],
    ) -> Result<Head, JournalError> {
        if i64::try_from(time_ms).is_err() {
            return Err(JournalError::Time(time_ms));
        }
        let request =
            Append { expect, time_ms, actor: actor.to_owned(), records: check(actor, records)? };
        match &self.storage {
            Storage::Sqlite(sqlite) => sqlite.append(request).await,
            Storage::Postgres(postgres) => postgres.append(request).await,
        }
    }

    /// The entries after revision `after`, in order, at most `limit` and [`MAX_READ`]. Empty when there are
    /// none yet.
    ///
    /// # Errors
    /// [`JournalError::Tampered`] for an entry that does not match its hash; [`JournalError::Storage`].
    pub async fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let limit = limit.min(MAX_READ);
        let rows = match &self.storage {
            Storage::Sqlite(sqlite) => sqlite.read(after, limit).await?,
            Storage::Postgres(postgres) => postgres.read(after, limit).await?,
        };
        let mut entries = Vec::with_capacity(rows.len());
        let mut expected = after;
        for row in rows {
            expected = expected.saturating_add(1);
            if u64::try_from(row.revision).ok() != Some(expected) {
                return Err(missing(expected));
            }
            entries.push(row.entry()?);
        }
        Ok(entries)
    }

    /// The end of the journal.
    ///
    /// # Errors
    /// [`JournalError::Tampered`] when the last row is not an entry; [`JournalError::Storage`].
    pub async fn head(&self) -> Result<Head, JournalError> {
        match &self.storage {
            Storage::Sqlite(sqlite) => sqlite.head().await,
            Storage::Postgres(postgres) => postgres.head().await,
        }
    }

    /// Returns when the head may be another one than `known`, at once if it is. May return early: check and wait
    /// again.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`Journal::head`].
    pub async fn wait(&self, known: &Head) -> Result<(), JournalError> {
        loop {
            // Subscribed before the check: an append between check and sleep still notifies.
            let mut bell = match &self.storage {
                Storage::Sqlite(sqlite) => sqlite.bell(),
                Storage::Postgres(postgres) => postgres.bell(),
            };
            // A journal that went back is news too, and one with other entries at the same revision: whoever follows it must
            // not go on with what it lost.
            if self.head().await? != *known {
                return Ok(());
            }
            // Without a notification another process may still have appended, so check again.
            let _ = tokio::time::timeout(POLL, bell.changed()).await;
        }
    }

    /// Recomputes every hash from the first entry on and returns the resulting head.
    ///
    /// Truncation cannot be detected from the journal alone: compare the head with a checkpoint kept
    /// elsewhere.
    ///
    /// # Errors
    /// [`JournalError::Tampered`] with the first revision that fails; [`JournalError::Storage`].
    pub async fn check(&self) -> Result<Head, JournalError> {
        let mut tail = NextPlace::default();
        loop {
            let page = self.read(tail.head.revision, CHECK_PAGE).await?;
            if page.is_empty() {
                break;
            }
            for entry in page {
                tail = follow(&tail, &entry)?;
            }
        }
        // Rows that reading from the start would not reach.
        let head = self.head().await?;
        if head.revision < tail.head.revision {
            return Err(missing(head.revision.saturating_add(1)));
        }
        Ok(tail.head)
    }
}

fn missing(revision: u64) -> JournalError {
    JournalError::Tampered { revision, what: "it is missing" }
}

/// The tail after `entry`, if the entry follows the given tail.
fn follow(tail: &NextPlace, entry: &Entry) -> Result<NextPlace, JournalError> {
    let tampered = |what| JournalError::Tampered { revision: entry.revision, what };
    if entry.previous != tail.head.hash {
        return Err(tampered("it does not link to the previous entry"));
    }
    if entry.time_ms < tail.time_ms {
        return Err(tampered("it is earlier than the previous entry"));
    }
    Ok(NextPlace {
        head: Head { revision: entry.revision, hash: entry.hash },
        time_ms: entry.time_ms,
    })
}

/// An append on its way to storage.
#[derive(Debug, Clone)]
struct Append {
    expect: Option<u64>,
    time_ms: u64,
    actor: String,
    records: Vec<crate::entry::CheckedRecord>,
}

impl Append {
    /// What to write after `tail`, or why not.
    fn place(&self, tail: NextPlace) -> Result<Vec<crate::entry::StoredEntry>, JournalError> {
        if self.expect.is_some_and(|expect| expect != tail.head.revision) {
            return Err(JournalError::Conflict { head: tail.head });
        }
        crate::entry::place(tail, self.time_ms, &self.actor, &self.records)
    }
}

/// The tail described by the columns of the last row.
fn tail(revision: i64, time_ms: i64, hash: Vec<u8>) -> Result<NextPlace, JournalError> {
    let found = u64::try_from(revision).ok().zip(u64::try_from(time_ms).ok());
    let hash = hash.try_into().ok().map(Hash);
    match (found, hash) {
        (Some((revision, time_ms)), Some(hash)) => {
            Ok(NextPlace { head: Head { revision, hash }, time_ms })
        }
        _ => Err(JournalError::Tampered {
            revision: u64::try_from(revision).unwrap_or(0),
            what: "the last row is not an entry",
        }),
    }
}
