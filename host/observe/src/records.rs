//! Access records: one JSON line for each exchange, written by a separate thread.

use serde::Serialize;
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Lines that wait to be written; further ones are dropped and counted rather than delaying exchanges.
const WAITING_MAX: usize = 8_192;
/// Octets that wait to be written: what a disk that stands still may cost.
const WAITING_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// Filters' records may use at most a quarter of the waiting lines and bytes, so that there is always room for the host's
/// own records of requests.
const FILTERS_PART: usize = 4;

/// Which exchanges are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLog {
    /// No exchange.
    Off,
    /// Exchanges that were refused or failed.
    Refused,
    /// All exchanges.
    #[default]
    All,
}

/// What happened to one exchange. Field names are those of the JSON.
#[derive(Debug, Serialize)]
pub struct AccessRecord<'a> {
    /// When its head was complete.
    pub time_unix_us: u64,
    /// Its number in this proxy.
    pub exchange: u64,
    /// Trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<&'a str>,
    /// Value of `x-request-id`, sent to the upstream and in the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// Generation that served it.
    pub generation: u64,
    /// Listener it came through.
    pub listener: Option<&'a str>,
    /// SPIFFE id of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a str>,
    /// Address of the peer.
    pub source: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host asked for.
    pub authority: &'a str,
    /// Path and query as sent to the upstream.
    pub path: &'a str,
    /// Status sent; 0 if no response was sent.
    pub status: u16,
    /// gRPC status sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u16>,
    /// Rule id behind a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Details that the client did not receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// Attachment that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<&'a str>,
    /// Rule that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// Service it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    /// Endpoint of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<&'a str>,
    /// Attempts made.
    pub attempts: u32,
    /// Whole time.
    pub duration_us: u32,
    /// Time of it spent in attempts.
    pub upstream_us: u32,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// How it ended; empty: successfully.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcome: Vec<&'static str>,
}

/// Origin of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineOrigin {
    Host,
    Filter,
}

/// What the writer receives, in this order.
enum WriterMessage {
    Line(Line),
    /// Everything before it is to be written; the answer comes then.
    Settle(SyncSender<()>),
}

/// A line that waits to be written.
struct Line {
    whose: LineOrigin,
    octets: Vec<u8>,
}

/// Amounts that wait to be written.
#[derive(Default)]
struct WaitingAmounts {
    octets: AtomicUsize,
    filter_lines: AtomicUsize,
    filter_octets: AtomicUsize,
}

impl WaitingAmounts {
    /// Whether a line may wait too.
    fn admits(&self, whose: LineOrigin, size: usize) -> bool {
        let fits = |number: &AtomicUsize, more: usize, most: usize| {
            number.load(Ordering::Relaxed).saturating_add(more) <= most
        };
        fits(&self.octets, size, WAITING_OCTETS_MAX)
            && (whose == LineOrigin::Host
                || (fits(&self.filter_lines, 1, WAITING_MAX / FILTERS_PART)
                    && fits(&self.filter_octets, size, WAITING_OCTETS_MAX / FILTERS_PART)))
    }

    fn more(&self, whose: LineOrigin, size: usize) {
        self.octets.fetch_add(size, Ordering::Relaxed);
        if whose == LineOrigin::Filter {
            self.filter_lines.fetch_add(1, Ordering::Relaxed);
            self.filter_octets.fetch_add(size, Ordering::Relaxed);
        }
    }

    fn less(&self, whose: LineOrigin, size: usize) {
        self.octets.fetch_sub(size, Ordering::Relaxed);
        if whose == LineOrigin::Filter {
            self.filter_lines.fetch_sub(1, Ordering::Relaxed);
            self.filter_octets.fetch_sub(size, Ordering::Relaxed);
        }
    }
}

/// Accepts records and writes them out. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    mode: AccessLog,
    lines: Option<SyncSender<WriterMessage>>,
    waiting: Arc<WaitingAmounts>,
    losses: Arc<Losses>,
}

/// What was not written, and why nothing can be written now.
#[derive(Default)]
struct Losses {
    dropped: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Losses {
    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps how the last write ended, and logs it if the one before ended otherwise.
    fn note(&self, failure: Option<String>) {
        let mut last = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*last, &failure) {
            (None, Some(why)) => tracing::warn!(
                "access records cannot be written: {why}; they are tried again, and those for which there is no room are lost and counted"
            ),
            (Some(_), None) => tracing::info!("access records are written again"),
            _ => {}
        }
        *last = failure;
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Records nothing.
    pub fn off() -> Self {
        Self { mode: AccessLog::Off, lines: None, waiting: Arc::default(), losses: Arc::default() }
    }

    /// Writes lines to `out` on a separate thread, which ends with the last clone.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn to(mode: AccessLog, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (send, receive) = sync_channel(WAITING_MAX);
        let waiting: Arc<WaitingAmounts> = Arc::default();
        let losses: Arc<Losses> = Arc::default();
        let (left, lost) = (Arc::clone(&waiting), Arc::clone(&losses));
        std::thread::Builder::new().name("tamis-records".to_owned()).spawn(move || {
            write(&receive, (&left, &lost), std::io::BufWriter::with_capacity(64 * 1024, out));
        })?;
        Ok(Self { mode, lines: Some(send), waiting, losses })
    }

    /// Whether an exchange should be recorded.
    pub fn wants(&self, refused: bool) -> bool {
        match self.mode {
            AccessLog::Off => false,
            AccessLog::Refused => refused,
            AccessLog::All => true,
        }
    }

    /// Takes one record.
    pub fn record(&self, record: &AccessRecord<'_>) {
        let Some(lines) = &self.lines else { return };
        let mut line = Vec::with_capacity(512);
        if serde_json::to_writer(&mut line, record).is_err() {
            return;
        }
        line.push(b'\n');
        self.send(lines, LineOrigin::Host, line);
    }

    #[cfg(test)]
    fn line_of_host(&self, json: &str) {
        if let Some(lines) = &self.lines {
            self.send(lines, LineOrigin::Host, format!("{json}\n").into_bytes());
        }
    }

    /// Accepts one line of a filter's own record; `json` must not contain a line break.
    pub fn line(&self, json: &str) {
        if let Some(lines) = &self.lines {
            self.send(lines, LineOrigin::Filter, format!("{json}\n").into_bytes());
        }
    }

    /// Waits until everything that was recorded before is written, or for `most`: at the end of a process, whose threads end
    /// with it.
    pub fn settle(&self, most: Duration) {
        let Some(lines) = &self.lines else { return };
        let (send, settled) = sync_channel(1);
        // A writer that is so far behind will not be done in time anyway.
        if lines.try_send(WriterMessage::Settle(send)).is_ok() {
            // Whether it was done or the time is over, the process ends.
            let _ = settled.recv_timeout(most);
        }
    }

    fn send(&self, lines: &SyncSender<WriterMessage>, whose: LineOrigin, octets: Vec<u8>) {
        let size = octets.len();
        if !self.waiting.admits(whose, size) {
            self.losses.drop_one();
            return;
        }
        // Counted before it is sent: the writer may receive the line before this thread goes on.
        self.waiting.more(whose, size);
        if let Err(error) = lines.try_send(WriterMessage::Line(Line { whose, octets })) {
            self.waiting.less(whose, size);
            if matches!(error, TrySendError::Full(_)) {
                self.losses.drop_one();
            }
        }
    }

    /// Why records cannot be written now, in the words of the system; `None` while they can be.
    pub fn failure(&self) -> Option<String> {
        self.losses.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that were dropped because the writer could not keep up, or because they could not be written.
    pub fn dropped(&self) -> u64 {
        self.losses.dropped.load(Ordering::Relaxed)
    }
}

/// How often the writer checks its file while there is nothing to write: the file may have been rotated.
const IDLE: Duration = Duration::from_secs(1);

/// Writes until all recorders are gone; flushes whenever no line waits. A failure to record does not stop the proxy: the
/// disk may have room again later.
fn write(
    messages: &Receiver<WriterMessage>,
    (waiting, losses): (&WaitingAmounts, &Losses),
    mut out: impl Write,
) {
    let mut settling = Vec::new();
    loop {
        let first = match messages.recv_timeout(IDLE) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut failure = None;
        for message in first.into_iter().chain(messages.try_iter()) {
            match message {
                WriterMessage::Line(line) => {
                    if let Err(error) = out.write_all(&line.octets) {
                        losses.drop_one();
                        failure = Some(error.to_string());
                    }
                    waiting.less(line.whose, line.octets.len());
                }
                WriterMessage::Settle(answer) => settling.push(answer),
            }
        }
        if let Err(error) = out.flush() {
            failure = Some(error.to_string());
        }
        losses.note(failure);
        for answer in settling.drain(..) {
            // Nobody waits any longer: the time was over.
            let _ = answer.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, mpsc};

    struct SharedOutput(Arc<Mutex<Vec<u8>>>, mpsc::Sender<()>);

    impl Write for SharedOutput {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            // The test may have ended already.
            let _ = self.1.send(());
            Ok(())
        }
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let (written, (send, flushed)) = (Arc::new(Mutex::new(Vec::new())), mpsc::channel());
        let recorder =
            Recorder::to(AccessLog::Refused, SharedOutput(written.clone(), send)).unwrap();
        assert!(recorder.wants(true) && !recorder.wants(false));
        recorder.line("{\"a\":\"b\"}");
        flushed.recv().unwrap();
        assert_eq!(*written.lock().unwrap(), b"{\"a\":\"b\"}\n");
    }

    /// A disk that reports its first write and stands still until it is let go.
    struct StalledDisk {
        reached: mpsc::Sender<()>,
        let_go: Receiver<()>,
    }

    impl Write for StalledDisk {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            // Nobody listens any longer once the test knows that the writer stands.
            let _ = self.reached.send(());
            // An error means: let go for good.
            let _ = self.let_go.recv();
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_filters_emit_never_takes_the_room_of_the_hosts_own_records() {
        for (what, line, wanted) in [
            ("many", "{}".to_owned(), WAITING_MAX / FILTERS_PART),
            ("long", format!("\"{}\"", "a".repeat(1 << 20)), 16),
        ] {
            let ((hold, let_go), (reached, stands)) = (mpsc::channel(), mpsc::channel());
            let recorder = Recorder::to(AccessLog::All, StalledDisk { reached, let_go }).unwrap();
            // A writer that keeps pace would leave nothing waiting.
            recorder.line_of_host("{}");
            stands.recv().unwrap();
            for _ in 0..20_000.min(wanted * 4) {
                recorder.line(&line);
            }
            let before = recorder.dropped();
            assert!(before as usize >= wanted, "{what}: {before}");
            let own = WAITING_MAX - WAITING_MAX / FILTERS_PART;
            for _ in 0..own {
                recorder.line_of_host("{\"status\":200}");
            }
            assert_eq!(recorder.dropped(), before, "{what}: none of the host's is lost");
            drop(hold);
        }
    }

    #[test]
    fn what_was_recorded_before_it_settled_is_written_however_slow_the_writer_is() {
        struct SlowOutput(Arc<Mutex<Vec<u8>>>);
        impl Write for SlowOutput {
            fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
                std::thread::yield_now();
                let some = octets.len().min(3);
                self.0.lock().unwrap().extend_from_slice(&octets[..some]);
                Ok(some)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let written = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder::to(AccessLog::All, SlowOutput(Arc::clone(&written))).unwrap();
        for number in 0..200 {
            recorder.line_of_host(&format!("{{\"number\":{number}}}"));
        }
        recorder.settle(Duration::from_secs(60));
        let lines = written.lock().unwrap().iter().filter(|octet| **octet == b'\n').count();
        assert_eq!(lines, 200);
        Recorder::off().settle(Duration::from_secs(60));
    }

    /// A disk that is full while `full` is set.
    struct FullDisk {
        full: Arc<std::sync::atomic::AtomicBool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for FullDisk {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            if self.full.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_reported_while_it_is_full_and_each_lost_record_is_counted() {
        let (full, written) = (Arc::new(true.into()), Arc::new(Mutex::new(Vec::new())));
        let disk = FullDisk { full: Arc::clone(&full), written: Arc::clone(&written) };
        let recorder = Recorder::to(AccessLog::All, disk).unwrap();
        let long = "a".repeat(1_024);
        let (lines, most) = (200, Duration::from_secs(60));
        for number in 0..lines {
            recorder.line_of_host(&format!("{{\"number\":{number},\"long\":\"{long}\"}}"));
        }
        recorder.settle(most);
        assert!(recorder.failure().unwrap().contains("storage"), "{:?}", recorder.failure());
        full.store(false, Ordering::Relaxed);
        recorder.line_of_host("{}");
        recorder.settle(most);
        assert_eq!(recorder.failure(), None);
        let written = written.lock().unwrap();
        let (arrived, dropped) =
            (written.iter().filter(|octet| **octet == b'\n').count(), recorder.dropped());
        assert!(dropped > 0, "more than the buffer has room for");
        assert_eq!(arrived as u64 + dropped, lines + 1, "each is written or counted");
        for line in written.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            let read: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert!(read.is_object(), "no line is cut");
        }
    }
}
