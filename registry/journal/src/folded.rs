//! State folded from the journal once, read by everyone in the process, and changed in one way.

use std::error::Error;
use std::sync::{Mutex as StdMutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use tamis_ambient::Clock;
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::{Entry, Head, Journal, JournalError, Record};

/// How often a write is tried again because somebody else wrote first.
const ATTEMPTS: u32 = 100;
/// How many entries are read at a time.
const PAGE: usize = 1_000;
/// Entries that are prepared on the thread that reads them; more at once are those of a large change.
const FEW: usize = 4;
/// How long [`FoldedJournal::follow`] rests after the journal failed.
const REST: Duration = Duration::from_secs(1);

/// How long after the journal was read to its end the state is believed: what another process revokes holds in this one no later
/// than that. Several times [`SEEN`], so that a journal that is slow for a moment keeps nobody waiting.
const BELIEVED: Duration = Duration::from_secs(5);
/// How long whoever needs a state that is believed waits for a journal that was not read for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often [`FoldedJournal::follow`] reads a journal to which nobody writes.
const SEEN: Duration = Duration::from_secs(1);

/// State that entries of a journal make, one after the other.
pub trait Fold: Default {
    /// The revision of the entry applied last; 0 before the first.
    fn revision(&self) -> u64;

    /// What follows from an entry alone.
    type PreparedEntry: Send + 'static;

    /// Computes what follows from an entry alone, which may take long: nobody waits for it.
    fn prepare(entry: &Entry) -> Self::PreparedEntry;

    /// Applies the entry that follows. It must not panic half way: a reader after it sees what it left.
    fn apply(&mut self, entry: &Entry, prepared: Self::PreparedEntry);
}

/// A journal and the state folded from it.
///
/// * Every entry is applied once and in order, whoever asks for it first.
/// * Writers of this process take turns; those of others are noticed when appending, and the write is decided again.
/// * What [`FoldedWriter::append`] wrote is in the state when it returns.
/// * The state is believed for a few seconds after the journal was last read: a process that is cut off from it does not know what
///   others revoke ([`FoldedJournal::must_be_current`]).
/// * Every entry links to the one that was folded before it. A journal that does not go on where this process has read it is
///   read no further, and nothing is written to it: what was folded is of another one.
#[derive(Debug)]
pub struct FoldedJournal<S> {
    journal: Journal,
    clock: Clock,
    state: RwLock<S>,
    /// The revision folded last, for those who wait for the next.
    revision: watch::Sender<u64>,
    /// Where the state is in the journal. Held by the task that reads it, so that every entry is applied once.
    reading: Mutex<Head>,
    /// When the read began that found nothing after the state.
    read: StdMutex<Instant>,
    /// The revision at which the journal turned out to be another one.
    replaced: OnceLock<u64>,
    /// Held by the task that writes: writers of one process would only make each other try again.
    writing: Mutex<()>,
}

impl<S: Fold> FoldedJournal<S> {
    /// Folds the whole journal, which takes a while for a long one. Entries are dated by `clock`.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub async fn open(journal: Journal, clock: Clock) -> Result<Self, JournalError> {
        Self::open_from(journal, clock, S::default()).await
    }

    /// The same, from a state to which no entry was applied yet and that holds more than its default, such as settings.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub async fn open_from(journal: Journal, clock: Clock, state: S) -> Result<Self, JournalError> {
        let folded = Self {
            journal,
            clock,
            state: RwLock::new(state),
            revision: watch::Sender::new(0),
            reading: Mutex::default(),
            read: StdMutex::new(clock.now()),
            replaced: OnceLock::new(),
            writing: Mutex::default(),
        };
        folded.catch_up().await?;
        Ok(folded)
    }

    /// The journal below.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The clock that dates entries.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The state as it is now. Not to be held across an await.
    pub fn state(&self) -> RwLockReadGuard<'_, S> {
        // No change of the state can stop halfway, so the state is complete even if the lock is poisoned.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses to go on with the state of a journal that is another one by now.
    ///
    /// # Errors
    /// [`JournalError::Replaced`].
    pub fn must_hold(&self) -> Result<(), JournalError> {
        match self.replaced.get() {
            Some(revision) => Err(JournalError::Replaced { revision: *revision }),
            None => Ok(()),
        }
    }

    /// Refuses to go on with a state that nobody knows to be current: the journal was not read for some seconds, and cannot be
    /// read now. Whatever is decided by rights asks for it first.
    ///
    /// # Errors
    /// [`JournalError::Silent`]; as [`FoldedJournal::catch_up`].
    pub async fn must_be_current(&self) -> Result<(), JournalError> {
        self.must_be_current_within(PATIENCE).await
    }

    async fn must_be_current_within(&self, patience: Duration) -> Result<(), JournalError> {
        self.must_hold()?;
        if self.clock.since(self.read()) <= BELIEVED {
            return Ok(());
        }
        // Perhaps nobody followed it, or this thread was busy: that is no reason to refuse.
        match tokio::time::timeout(patience, self.catch_up()).await {
            Ok(read) => read,
            Err(_) => {
                Err(JournalError::Silent { seconds: self.clock.since(self.read()).as_secs() })
            }
        }
    }

    /// When the journal was last read to its end.
    fn read(&self) -> Instant {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives the revision folded last, and every later one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Folds every journal entry written so far.
    ///
    /// # Errors
    /// As [`Journal::read`]; the state has what was read before. [`JournalError::Replaced`] from then on when the journal
    /// does not go on where the state is.
    pub async fn catch_up(&self) -> Result<(), JournalError> {
        let mut head = self.reading.lock().await;
        loop {
            self.must_hold()?;
            let began = self.clock.now();
            let entries = self.after(&head).await?;
            let Some(tail) = entries.last() else {
                *self.read.lock().unwrap_or_else(PoisonError::into_inner) = began;
                return Ok(());
            };
            let last = Head { revision: tail.revision, hash: tail.hash };
            let prepared = Self::prepared(entries).await;
            {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                for (entry, prepared) in prepared {
                    state.apply(&entry, prepared);
                }
            }
            // The head moves only after the entries are applied: if this call is cancelled in between, the next call applies
            // them.
            *head = last;
            self.revision.send_replace(last.revision);
        }
    }

    /// The entries after the one that was folded last, which is read again to see that it is still there.
    async fn after(&self, head: &Head) -> Result<Vec<Entry>, JournalError> {
        let known = usize::from(head.revision > 0);
        let from = head.revision.saturating_sub(1);
        let mut entries = self.journal.read(from, PAGE.saturating_add(known)).await?;
        let mut at = match entries.first() {
            _ if known == 0 => *head,
            Some(same) => Head { revision: same.revision, hash: same.hash },
            None => Head::default(),
        };
        let mut is_one = at == *head;
        for entry in entries.iter().skip(known) {
            is_one &= entry.revision == at.revision.saturating_add(1) && entry.previous == at.hash;
            at = Head { revision: entry.revision, hash: entry.hash };
        }
        if !is_one {
            let revision = *self.replaced.get_or_init(|| head.revision);
            tracing::error!(
                revision,
                "the journal is not the one that this process has read; this process stops using it"
            );
            return Err(JournalError::Replaced { revision });
        }
        entries.drain(..known.min(entries.len()));
        Ok(entries)
    }

    /// Entries with what follows from each, computed on another thread if there are many.
    async fn prepared(entries: Vec<Entry>) -> Vec<(Entry, S::PreparedEntry)> {
        let prepare = |entries: Vec<Entry>| -> Vec<(Entry, S::PreparedEntry)> {
            let prepared = |entry: Entry| {
                let prepared = S::prepare(&entry);
                (entry, prepared)
            };
            entries.into_iter().map(prepared).collect()
        };
        if entries.len() <= FEW {
            return prepare(entries);
        }
        match tokio::task::spawn_blocking(move || prepare(entries)).await {
            Ok(prepared) => prepared,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // It is never cancelled, but at the end of the process.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Folds what other processes write, for as long as it is polled: one task of every process runs it.
    pub async fn follow(&self) {
        loop {
            let known = *self.reading.lock().await;
            let news = async {
                // However quiet the journal is, it is read again before long.
                if let Ok(news) = tokio::time::timeout(SEEN, self.journal.wait(&known)).await {
                    news?;
                }
                self.catch_up().await
            };
            if let Err(error) = news.await {
                if self.must_hold().is_err() {
                    // Nothing follows any more.
                    return std::future::pending().await;
                }
                let error = causes(&error);
                tracing::warn!(error, "the journal cannot be read; trying again");
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Writes as `actor` the records that `decide` returns; when another process was first, decides again on the new state.
    /// Between a decision and its append `may` is asked whether the actor still may write. Returns the revision of the
    /// records (that of the state when there are none), which the state then has.
    ///
    /// A future dropped before it returned may or may not have written.
    ///
    /// # Errors
    /// [`CommitFailure`] when `decide` or `may` refuses, or the journal fails.
    pub async fn commit<R, T, E, F>(
        &self,
        actor: &str,
        decide: impl FnMut(&S) -> Result<(R, T), E>,
        may: impl Fn() -> F,
    ) -> Result<(u64, T), CommitFailure<E>>
    where
        R: AsRef<[Record]>,
        F: Future<Output = Result<(), E>>,
    {
        self.writer(actor).await.commit(decide, may).await
    }

    /// The turn to write as `actor`, once the writers before have ended.
    pub async fn writer<'a>(&'a self, actor: &'a str) -> FoldedWriter<'a, S> {
        FoldedWriter { folded: self, actor, left: ATTEMPTS, _turn: self.writing.lock().await }
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why nothing was written.
#[derive(Debug)]
pub enum CommitFailure<E> {
    /// What should be written was refused, or who should write it may not any more.
    Refused(E),
    /// The journal cannot be read or written.
    Journal(JournalError),
}

/// A turn to write. Decide on [`FoldedWriter::fresh`] state, then [`FoldedWriter::append`]; decide again when that
/// answers `None`.
pub struct FoldedWriter<'a, S> {
    folded: &'a FoldedJournal<S>,
    actor: &'a str,
    left: u32,
    _turn: MutexGuard<'a, ()>,
}

impl<S: Fold> FoldedWriter<'_, S> {
    /// The state with every entry written so far, to decide on. Not to be held across an await.
    ///
    /// # Errors
    /// As [`FoldedJournal::catch_up`].
    pub async fn fresh(&self) -> Result<RwLockReadGuard<'_, S>, JournalError> {
        self.folded.catch_up().await?;
        Ok(self.folded.state())
    }

    /// As [`FoldedJournal::commit`], in this turn, which ends with it.
    ///
    /// # Errors
    /// As [`FoldedJournal::commit`].
    pub async fn commit<R, T, E, F>(
        mut self,
        mut decide: impl FnMut(&S) -> Result<(R, T), E>,
        may: impl Fn() -> F,
    ) -> Result<(u64, T), CommitFailure<E>>
    where
        R: AsRef<[Record]>,
        F: Future<Output = Result<(), E>>,
    {
        loop {
            let (revision, decided) = {
                let state = self.fresh().await.map_err(CommitFailure::Journal)?;
                (state.revision(), decide(&state))
            };
            may().await.map_err(CommitFailure::Refused)?;
            let (records, value) = decided.map_err(CommitFailure::Refused)?;
            if records.as_ref().is_empty() {
                return Ok((revision, value));
            }
            let appended = self.append(revision, records.as_ref()).await;
            if let Some(revision) = appended.map_err(CommitFailure::Journal)? {
                return Ok((revision, value));
            }
        }
    }

    /// Appends records that were decided on the state at `revision`, and folds them. `None`: another process wrote
    /// first, so the decision may no longer hold.
    ///
    /// A future dropped before it returned may or may not have written.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] after 100 such attempts; as [`Journal::append`] otherwise.
    pub async fn append(
        &mut self,
        revision: u64,
        records: &[Record],
    ) -> Result<Option<u64>, JournalError> {
        self.folded.must_hold()?;
        let FoldedJournal { journal, clock, .. } = self.folded;
        match journal.append(Some(revision), clock.unix_ms(), self.actor, records).await {
            Ok(written) => {
                self.folded.catch_up().await?;
                Ok(Some(written.revision))
            }
            Err(JournalError::Conflict { .. }) if self.left > 1 => {
                self.left = self.left.saturating_sub(1);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use tamis_ambient::ManualTime;
    use tempfile::TempDir;

    use super::*;

    /// The times of all entries.
    #[derive(Default, Debug)]
    struct EntryTimes {
        revision: u64,
        all: Vec<u64>,
    }

    impl Fold for EntryTimes {
        fn revision(&self) -> u64 {
            self.revision
        }

        type PreparedEntry = u64;

        fn prepare(entry: &Entry) -> u64 {
            entry.revision
        }

        fn apply(&mut self, entry: &Entry, prepared: u64) {
            assert_eq!(entry.revision, prepared);
            assert_eq!(entry.revision, self.revision + 1, "each once and in order");
            self.revision = entry.revision;
            self.all.push(entry.time_ms);
        }
    }

    async fn open(folder: &TempDir, time: ManualTime) -> FoldedJournal<EntryTimes> {
        let journal = Journal::sqlite(folder.path()).await.unwrap();
        FoldedJournal::open(journal, time.clock()).await.unwrap()
    }

    fn record() -> Record {
        Record { kind: "note".to_owned(), body: serde_json::json!({}) }
    }

    #[tokio::test]
    async fn a_write_is_in_the_state_when_it_returns_and_is_dated_by_the_clock() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let folded = open(&folder, time).await;
        time.set_unix_time(Duration::from_millis(5_000));
        let mut writer = folded.writer("ada").await;
        let revision = writer.fresh().await.unwrap().revision();
        assert_eq!(writer.append(revision, &[record(), record()]).await.unwrap(), Some(2));
        assert_eq!(folded.state().all, [5_000, 5_000]);
        assert_eq!(*folded.watch().borrow(), 2);
    }

    #[tokio::test]
    async fn however_many_entries_come_at_once_each_is_applied_with_what_was_prepared_of_it() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let folded = open(&folder, time).await;
        let mut revision = 0;
        for count in [1, FEW, FEW + 1, 3 * PAGE / 2] {
            let records: Vec<_> = (0..count).map(|_| record()).collect();
            let mut writer = folded.writer("ada").await;
            let written = writer.append(revision, &records).await.unwrap();
            revision += u64::try_from(count).unwrap();
            assert_eq!(written, Some(revision));
            assert_eq!(folded.state().revision(), revision);
        }
    }

    #[tokio::test]
    async fn who_was_overtaken_decides_again_on_what_the_other_wrote() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let (one, other) = (open(&folder, time).await, open(&folder, time).await);
        let mut writer = one.writer("ada").await;
        let revision = writer.fresh().await.unwrap().revision();
        let written = other.writer("bob").await.append(revision, &[record()]).await.unwrap();
        assert_eq!(written, Some(1));
        assert_eq!(writer.append(revision, &[record()]).await.unwrap(), None, "bob was first");
        let revision = writer.fresh().await.unwrap().revision();
        assert_eq!(revision, 1);
        assert_eq!(writer.append(revision, &[record()]).await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn a_commit_asks_before_each_append_and_is_decided_again_when_it_was_overtaken() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let (one, other) = (open(&folder, time).await, open(&folder, time).await);
        let asked = std::cell::Cell::new(0);
        let mut decided = Vec::new();
        let decide = |times: &EntryTimes| {
            decided.push(times.revision);
            Ok::<_, &str>(([record()], times.revision))
        };
        // Another process writes while the first decision waits.
        let may = || async {
            asked.set(asked.get() + 1);
            let mut writer = other.writer("bob").await;
            if asked.get() == 1 {
                assert_eq!(writer.append(0, &[record()]).await.unwrap(), Some(1));
            }
            Ok(())
        };
        assert_eq!(one.commit("ada", decide, may).await.unwrap(), (2, 1));
        assert_eq!((decided, asked.get()), (vec![0, 1], 2));
    }

    #[tokio::test]
    async fn a_commit_writes_nothing_when_there_is_nothing_or_its_actor_may_not() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let folded = open(&folder, time).await;
        let may = || std::future::ready(Ok(()));
        let nothing = |_: &EntryTimes| Ok::<_, &str>(([] as [Record; 0], ()));
        assert_eq!(folded.commit("ada", nothing, may).await.unwrap(), (0, ()));
        let refused = |_: &EntryTimes| Err::<([Record; 1], ()), _>("no");
        let end = folded.commit("ada", refused, may).await;
        assert!(matches!(end, Err(CommitFailure::Refused("no"))), "{end:?}");
        let something = |_: &EntryTimes| Ok::<_, &str>(([record()], ()));
        let may_not = || std::future::ready(Err("ended"));
        let end = folded.commit("ada", something, may_not).await;
        assert!(matches!(end, Err(CommitFailure::Refused("ended"))), "{end:?}");
        assert_eq!(folded.journal().read(0, 1).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_journal_that_does_not_go_on_where_it_was_read_is_followed_no_further() {
        let sql = |folder: &TempDir, text: &str| {
            let file = rusqlite::Connection::open(folder.path().join("journal.sqlite")).unwrap();
            file.execute_batch(text).unwrap();
        };
        // What happens to the journal behind a process that has read three entries, and how many others then write.
        let rows = [
            ("it lost its tail", "DELETE FROM journal WHERE revision >= 3", 0),
            ("it lost its tail and has others", "DELETE FROM journal WHERE revision >= 3", 1),
            ("and has more", "DELETE FROM journal WHERE revision >= 3", 3),
            ("it is empty", "DELETE FROM journal", 0),
            ("it began again", "DELETE FROM journal", 5),
        ];
        for (what, happens, others) in rows {
            let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
            let folded = open(&folder, time).await;
            let mut writer = folded.writer("ada").await;
            writer.append(0, &[record(), record(), record()]).await.unwrap();
            drop(writer);
            folded.must_hold().unwrap();
            sql(&folder, happens);
            let other = open(&folder, time).await;
            time.set_unix_time(Duration::from_secs(9));
            for _ in 0..others {
                let mut writer = other.writer("bob").await;
                let revision = writer.fresh().await.unwrap().revision();
                writer.append(revision, &[record()]).await.unwrap();
            }
            // It is noticed without anything that asks.
            let mut followed = Box::pin(folded.follow());
            let noticed = async {
                while folded.must_hold().is_ok() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! { () = &mut followed => panic!("{what}"), () = noticed => {} }
            drop(followed);
            let refused = |done: &Result<(), JournalError>| {
                matches!(done, Err(JournalError::Replaced { revision: 3 }))
            };
            assert!(refused(&folded.must_hold()) && refused(&folded.catch_up().await), "{what}");
            let mut writer = folded.writer("ada").await;
            assert!(writer.fresh().await.is_err(), "{what}");
            let written = writer.append(3, &[record()]).await.map(drop);
            assert!(refused(&written), "{what}: {written:?}");
            assert_eq!(folded.state().revision(), 3, "{what}");
            // Another process reads it as it is.
            open(&folder, time).await.must_hold().unwrap();
        }
    }

    #[tokio::test]
    async fn a_state_is_believed_for_a_few_seconds_and_then_as_long_as_the_journal_answers() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let folded = open(&folder, time).await;
        let file = rusqlite::Connection::open(folder.path().join("journal.sqlite")).unwrap();
        let gone = |yes: bool| {
            let (from, to) = if yes { ("journal", "gone") } else { ("gone", "journal") };
            file.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
        };
        // Nobody follows it: then it is read when it is needed.
        time.advance(BELIEVED * 100);
        folded.must_be_current().await.unwrap();
        gone(true);
        // Cut off from it, what was read before holds for a few seconds, and no longer.
        for (after, is_believed) in [
            (Duration::ZERO, true),
            (BELIEVED, true),
            (Duration::from_millis(1), false),
            (BELIEVED * 100, false),
        ] {
            time.advance(after);
            let current = folded.must_be_current().await;
            assert_eq!(current.is_ok(), is_believed, "{after:?}: {current:?}");
        }
        gone(false);
        folded.must_be_current().await.unwrap();
        time.advance(BELIEVED);
        folded.must_be_current().await.unwrap();
    }

    #[tokio::test]
    async fn a_journal_that_does_not_answer_is_waited_for_and_then_the_state_is_believed_no_more() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let folded = open(&folder, time).await;
        time.advance(BELIEVED * 2);
        // As behind a read that never comes back.
        let read = folded.reading.lock().await;
        let silent = folded.must_be_current_within(Duration::from_millis(1)).await;
        assert!(matches!(silent, Err(JournalError::Silent { seconds: 10 })), "{silent:?}");
        drop(read);
    }

    #[tokio::test]
    async fn whoever_follows_a_quiet_journal_is_believed_without_reading_it() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let folded = open(&folder, time).await;
        time.advance(BELIEVED * 2);
        let before = folded.read();
        let seen = async {
            while folded.read() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = folded.follow() => {}, () = seen => {} }
        assert!(time.clock().since(folded.read()) <= BELIEVED);
    }

    #[tokio::test]
    async fn a_writer_that_is_always_overtaken_ends_with_the_conflict() {
        let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
        let folded = open(&folder, time).await;
        let mut writer = folded.writer("ada").await;
        assert_eq!(writer.append(0, &[record()]).await.unwrap(), Some(1));
        for _ in 1..ATTEMPTS {
            assert_eq!(writer.append(0, &[record()]).await.unwrap(), None);
        }
        let end = writer.append(0, &[record()]).await;
        assert!(matches!(end, Err(JournalError::Conflict { .. })), "{end:?}");
        assert_eq!(folded.state().all.len(), 1);
    }
}
