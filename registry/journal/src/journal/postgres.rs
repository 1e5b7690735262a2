//! The journal in PostgreSQL, for several servers on one journal.
//!
//! A sequence would number rows before they are visible, so that a reader could skip one. Here an advisory
//! lock, held to the end of the transaction, serialises appends: revisions have no gap and become visible
//! in order.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, GenericClient, IsolationLevel, NoTls};

use super::{Append, tail};
use crate::entry::{NextPlace, Row};
use crate::{Head, JournalError};

/// The advisory lock of appends: an arbitrary number that no other user of this database takes.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7881702169121)";

/// How long a server may be silent before the connection counts as lost, unless the address sets another
/// time (`tcp_user_timeout`). That option itself sees only machines that are gone: one whose server stands still takes every
/// query, and answers none.
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
    /// The server does not respond. Another attempt would wait as long again.
    Silent(JournalError),
    Final(JournalError),
}

impl Failure {
    fn of(act: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |error| {
            if lost(&error) {
                Self::Lost(error)
            } else {
                let is_full = error.code() == Some(&SqlState::DISK_FULL);
                let full = JournalError::Full { act };
                Self::Final(if is_full { full } else { JournalError::other(act, error) })
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
        let made = async {
            let Some(client) = client.as_mut() else { return Ok(()) };
            let transaction = client.transaction().await?;
            transaction.batch_execute(LOCK).await?;
            transaction.batch_execute(SCHEMA).await?;
            transaction.commit().await
        };
        let made = tokio::time::timeout(journal.patience(), made).await;
        made.map_err(|_| silent("make its table", journal.patience()))?.map_err(storage)?;
        drop(client);
        Ok(journal)
    }

    pub(super) async fn append(&self, request: Append) -> Result<Head, JournalError> {
        let mut held = self.connected().await?;
        let patience = self.patience();
        let mut done = append(&mut held, &request, patience).await;
        if matches!(done, Err(Failure::Lost(_))) {
            held = self.again(held).await?;
            done = append(&mut held, &request, patience).await;
        }
        settle("append", &mut held, done)
    }

    pub(super) async fn read(&self, after: u64, limit: usize) -> Result<Vec<Row>, JournalError> {
        // PostgreSQL has no larger numbers, so there is nothing to read.
        let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut held = self.connected().await?;
        let patience = self.patience();
        let mut done = rows(&held, after, limit, patience).await;
        if matches!(done, Err(Failure::Lost(_))) {
            held = self.again(held).await?;
            done = rows(&held, after, limit, patience).await;
        }
        settle("read", &mut held, done)
    }

    pub(super) async fn head(&self) -> Result<Head, JournalError> {
        let mut held = self.connected().await?;
        let patience = self.patience();
        let mut done = head(&held, patience).await;
        if matches!(done, Err(Failure::Lost(_))) {
            held = self.again(held).await?;
            done = head(&held, patience).await;
        }
        settle("read its head", &mut held, done)
    }

    /// How long the server may be silent.
    fn patience(&self) -> Duration {
        self.config.get_tcp_user_timeout().copied().unwrap_or(PATIENCE)
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
        const ACT: &str = "connect to PostgreSQL";
        let storage = |error| JournalError::other(ACT, error);
        let unheard = |_| silent(ACT, self.patience());
        // `connect_timeout` of the configuration limits TCP alone.
        let connected = tokio::time::timeout(self.patience(), self.config.connect(NoTls)).await;
        let (client, mut connection) = connected.map_err(unheard)?.map_err(storage)?;
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
        // Whatever the server's default is, an acknowledged commit must be durable.
        let session = "SET synchronous_commit TO on; LISTEN tamis_journal";
        let set = tokio::time::timeout(self.patience(), client.batch_execute(session)).await;
        set.map_err(unheard)?.map_err(storage)?;
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
        Failure::Silent(error) => {
            *held = None;
            error
        }
        Failure::Final(error) => error,
    })
}

/// The answer of a query, if it comes in time.
async fn answer<T>(
    act: &'static str,
    patience: Duration,
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, query).await {
        Ok(done) => done.map_err(Failure::of(act)),
        Err(_) => Err(Failure::Silent(silent(act, patience))),
    }
}

fn silent(act: &'static str, patience: Duration) -> JournalError {
    let seconds = patience.as_secs();
    JournalError::other(act, format!("PostgreSQL did not respond for {seconds} s"))
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

async fn append(
    held: &mut Option<Client>,
    request: &Append,
    patience: Duration,
) -> Result<Head, Failure> {
    const ACT: &str = "append";
    let client = held.as_mut().ok_or_else(no_connection)?;
    // Read committed: what the lock waited for is visible once the lock is held.
    let begin = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let transaction = answer(ACT, patience, begin.start()).await?;
    answer(ACT, patience, transaction.batch_execute(LOCK)).await?;
    let tail = last(&transaction, patience).await?;
    let mut head = tail.head;
    let sql = "INSERT INTO journal VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let insert = answer(ACT, patience, transaction.prepare(sql)).await?;
    for written in request.place(tail)? {
        let entry = written.entry;
        // Both fit: the time was checked, and revisions count up from 1.
        let revision = i64::try_from(entry.revision).unwrap_or(i64::MAX);
        let time_ms = i64::try_from(entry.time_ms).unwrap_or(i64::MAX);
        let (previous, hash) = (entry.previous.0.as_slice(), entry.hash.0.as_slice());
        let kind = entry.record.kind;
        let values: [&(dyn ToSql + Sync); 7] =
            [&revision, &time_ms, &entry.actor, &kind, &written.body, &previous, &hash];
        answer(ACT, patience, transaction.execute(&insert, &values)).await?;
        head = Head { revision: entry.revision, hash: entry.hash };
    }
    // A notification without content: it may be lost, and readers check by themselves.
    answer(ACT, patience, transaction.batch_execute("NOTIFY tamis_journal")).await?;
    // From here on a lost connection leaves open whether the append happened, so it is not tried again.
    match answer(ACT, patience, transaction.commit()).await {
        Ok(()) => Ok(head),
        Err(Failure::Lost(error)) => Err(Failure::Final(JournalError::other(ACT, error))),
        Err(failure) => Err(failure),
    }
}

async fn head(held: &Option<Client>, patience: Duration) -> Result<Head, Failure> {
    Ok(last(client(held)?, patience).await?.head)
}

async fn last(client: &impl GenericClient, patience: Duration) -> Result<NextPlace, Failure> {
    const ACT: &str = "read its head";
    let storage = Failure::of(ACT);
    let sql = "SELECT revision, time_ms, hash FROM journal ORDER BY revision DESC LIMIT 1";
    let Some(row) = answer(ACT, patience, client.query_opt(sql, &[])).await? else {
        return Ok(NextPlace::default());
    };
    let revision = row.try_get(0).map_err(&storage)?;
    let time_ms = row.try_get(1).map_err(&storage)?;
    Ok(tail(revision, time_ms, row.try_get(2).map_err(&storage)?)?)
}

async fn rows(
    held: &Option<Client>,
    after: i64,
    limit: i64,
    patience: Duration,
) -> Result<Vec<Row>, Failure> {
    const ACT: &str = "read";
    let storage = Failure::of(ACT);
    let sql = "SELECT revision, time_ms, actor, kind, body, previous, hash FROM journal
               WHERE revision > $1 ORDER BY revision LIMIT $2";
    let found = client(held)?.query_raw(sql, [after, limit]);
    let mut found = std::pin::pin!(answer(ACT, patience, found).await?);
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
    let mut rows = Vec::new();
    // Many rows take their time: the server is silent when none comes.
    while let Some(found) = answer(ACT, patience, found.try_next()).await? {
        rows.push(row(found).map_err(&storage)?);
    }
    Ok(rows)
}
