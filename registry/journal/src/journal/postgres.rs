//! The journal in PostgreSQL, for several servers on one journal.
//!
//! A sequence would number rows before they are visible, so that a reader could skip one. Here an advisory
//! lock, held to the end of the transaction, serialises appends: revisions have no gap and become visible
//! in order.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, GenericClient, IsolationLevel, NoTls};

use super::{Append, tail};
use crate::entry::{NextPlace, Row};
use crate::{Head, JournalError};

/// The advisory lock of appends: an arbitrary number that no other user of this database takes.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7881702169121)";

/// How long a server may be silent before the connection counts as lost, unless the address sets another
/// time.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lock comes first: two servers that start at the same time would both create the table.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS journal (
        revision BIGINT PRIMARY KEY,
        time_ms BIGINT NOT NULL,
        actor TEXT NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        previous BYTEA NOT NULL,
        hash BYTEA NOT NULL
    )";

/// A handle on one connection, opened again when it is lost.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    config: Arc<Config>,
    client: Arc<Mutex<Option<Client>>>,
    bell: watch::Sender<u64>,
}

/// Why one attempt failed.
enum Failure {
    /// The connection was lost and nothing can have been written: another attempt is safe.
    Lost(tokio_postgres::Error),
    Final(JournalError),
}

impl Failure {
    fn of(act: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |error| {
            if lost(&error) {
                Self::Lost(error)
            } else {
                Self::Final(JournalError::other(act, error))
            }
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::Final(error)
    }
}

impl Postgres {
    pub(super) async fn open(url: &str) -> Result<Self, JournalError> {
        let act = "connect to PostgreSQL";
        let mut config = Config::from_str(url).map_err(|error| JournalError::other(act, error))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(PATIENCE);
        }
        let bell = watch::Sender::new(0);
        let journal = Self { config: Arc::new(config), client: Arc::default(), bell };
        let storage = |error| JournalError::other("make its table", error);
        let mut client = journal.connected().await?;
        if let Some(client) = client.as_mut() {
            let transaction = client.transaction().await.map_err(storage)?;
            transaction.batch_execute(LOCK).await.map_err(storage)?;
            transaction.batch_execute(SCHEMA).await.map_err(storage)?;
            transaction.commit().await.map_err(storage)?;
        }
        drop(client);
        Ok(journal)
    }

    pub(super) async fn append(&self, request: Append) -> Result<Head, JournalError> {
        let mut held = self.connected().await?;
        let mut done = append(&mut held, &request).await;
        if matches!(done, Err(Failure::Lost(_))) {
            held = self.again(held).await?;
            done = append(&mut held, &request).await;
        }
        settle("append", &mut held, done)
    }

    pub(super) async fn read(&self, after: u64, limit: usize) -> Result<Vec<Row>, JournalError> {
        // PostgreSQL has no larger numbers, so there is nothing to read.
        let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut held = self.connected().await?;
        let mut done = rows(&held, after, limit).await;
        if matches!(done, Err(Failure::Lost(_))) {
            held = self.again(held).await?;
            done = rows(&held, after, limit).await;
        }
        settle("read", &mut held, done)
    }

    pub(super) async fn head(&self) -> Result<Head, JournalError> {
        let mut held = self.connected().await?;
        let mut done = head(&held).await;
        if matches!(done, Err(Failure::Lost(_))) {
            held = self.again(held).await?;
            done = head(&held).await;
        }
        settle("read its head", &mut held, done)
    }

    /// Notifies of appends by anybody, while the connection lasts.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// The connection, opened if there is none; `Some` when it returns.
    async fn connected(&self) -> Result<MutexGuard<'_, Option<Client>>, JournalError> {
        let mut held = self.client.lock().await;
        if held.as_ref().is_none_or(Client::is_closed) {
            *held = Some(self.connect().await?);
        }
        Ok(held)
    }

    async fn again<'held>(
        &self,
        mut held: MutexGuard<'held, Option<Client>>,
    ) -> Result<MutexGuard<'held, Option<Client>>, JournalError> {
        tracing::warn!("the journal's connection to PostgreSQL was lost; connecting again");
        *held = None;
        *held = Some(self.connect().await?);
        Ok(held)
    }

    async fn connect(&self) -> Result<Client, JournalError> {
        let storage = |error| JournalError::other("connect to PostgreSQL", error);
        let (client, mut connection) = self.config.connect(NoTls).await.map_err(storage)?;
        let bell = self.bell.clone();
        // Ends with the connection, which ends when the client is dropped.
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |task| connection.poll_message(task));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(_) = message {
                    bell.send_modify(|rings| *rings = rings.wrapping_add(1));
                }
            }
        });
        // Whatever the server's default: acknowledged means durable.
        let session = "SET synchronous_commit TO on; LISTEN tamis_journal";
        client.batch_execute(session).await.map_err(storage)?;
        Ok(client)
    }
}

/// Returns the result; drops a lost connection, so that no later call uses it.
fn settle<T>(
    act: &'static str,
    held: &mut Option<Client>,
    done: Result<T, Failure>,
) -> Result<T, JournalError> {
    done.map_err(|failure| match failure {
        Failure::Lost(error) => {
            *held = None;
            JournalError::other(act, error)
        }
        Failure::Final(error) => error,
    })
}

fn lost(error: &tokio_postgres::Error) -> bool {
    const ENDED: [SqlState; 4] = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
    ];
    let ended = error.code().is_some_and(|code| ENDED.contains(code));
    let source = std::error::Error::source(error);
    ended || error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>())
}

fn client(held: &Option<Client>) -> Result<&Client, Failure> {
    held.as_ref().ok_or_else(no_connection)
}

fn no_connection() -> Failure {
    Failure::Final(JournalError::other("connect to PostgreSQL", "there is no connection"))
}

async fn append(held: &mut Option<Client>, request: &Append) -> Result<Head, Failure> {
    let client = held.as_mut().ok_or_else(no_connection)?;
    let storage = Failure::of("append");
    // Read committed: what the lock waited for is visible once the lock is held.
    let begin = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let transaction = begin.start().await.map_err(&storage)?;
    transaction.batch_execute(LOCK).await.map_err(&storage)?;
    let tail = last(&transaction).await?;
    let mut head = tail.head;
    let sql = "INSERT INTO journal VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let insert = transaction.prepare(sql).await.map_err(&storage)?;
    for written in request.place(tail)? {
        let entry = written.entry;
        // Both fit: the time was checked, and revisions count up from 1.
        let revision = i64::try_from(entry.revision).unwrap_or(i64::MAX);
        let time_ms = i64::try_from(entry.time_ms).unwrap_or(i64::MAX);
        let (previous, hash) = (entry.previous.0.as_slice(), entry.hash.0.as_slice());
        let kind = entry.record.kind;
        transaction
            .execute(
                &insert,
                &[&revision, &time_ms, &entry.actor, &kind, &written.body, &previous, &hash],
            )
            .await
            .map_err(&storage)?;
        head = Head { revision: entry.revision, hash: entry.hash };
    }
    // A notification without content: it may be lost, and readers check by themselves.
    transaction.batch_execute("NOTIFY tamis_journal").await.map_err(&storage)?;
    // From here on a lost connection leaves open whether the append happened, so it is not tried again.
    let commit = transaction.commit().await;
    commit.map_err(|error| Failure::Final(JournalError::other("append", error)))?;
    Ok(head)
}

async fn head(held: &Option<Client>) -> Result<Head, Failure> {
    Ok(last(client(held)?).await?.head)
}

async fn last(client: &impl GenericClient) -> Result<NextPlace, Failure> {
    let storage = Failure::of("read its head");
    let sql = "SELECT revision, time_ms, hash FROM journal ORDER BY revision DESC LIMIT 1";
    let Some(row) = client.query_opt(sql, &[]).await.map_err(&storage)? else {
        return Ok(NextPlace::default());
    };
    let revision = row.try_get(0).map_err(&storage)?;
    let time_ms = row.try_get(1).map_err(&storage)?;
    Ok(tail(revision, time_ms, row.try_get(2).map_err(&storage)?)?)
}

async fn rows(held: &Option<Client>, after: i64, limit: i64) -> Result<Vec<Row>, Failure> {
    let storage = Failure::of("read");
    let sql = "SELECT revision, time_ms, actor, kind, body, previous, hash FROM journal
               WHERE revision > $1 ORDER BY revision LIMIT $2";
    let found = client(held)?.query(sql, &[&after, &limit]).await.map_err(&storage)?;
    let row = |row: tokio_postgres::Row| {
        Ok(Row {
            revision: row.try_get(0)?,
            time_ms: row.try_get(1)?,
            actor: row.try_get(2)?,
            kind: row.try_get(3)?,
            body: row.try_get(4)?,
            previous: row.try_get(5)?,
            hash: row.try_get(6)?,
        })
    };
    found.into_iter().map(|found| row(found).map_err(&storage)).collect()
}
