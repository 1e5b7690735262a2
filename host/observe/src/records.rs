//! Access records: one JSON line for each exchange, written by a separate thread.

use serde::Serialize;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Lines that wait to be written; further ones are dropped and counted rather than delaying exchanges.
const WAITING_MAX: usize = 8_192;

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

/// Accepts records and writes them out. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    mode: AccessLog,
    lines: Option<SyncSender<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Records nothing.
    pub fn off() -> Self {
        Self { mode: AccessLog::Off, lines: None, dropped: Arc::default() }
    }

    /// Writes lines to `out` on a separate thread, which ends with the last clone.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn to(mode: AccessLog, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (send, receive) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("tamis-records".to_owned())
            .spawn(move || write(&receive, std::io::BufWriter::with_capacity(64 * 1024, out)))?;
        Ok(Self { mode, lines: Some(send), dropped: Arc::default() })
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
        self.send(lines, line);
    }

    /// Accepts one line of a filter's own record; `json` must not contain a line break.
    pub fn line(&self, json: &str) {
        if let Some(lines) = &self.lines {
            self.send(lines, format!("{json}\n").into_bytes());
        }
    }

    fn send(&self, lines: &SyncSender<Vec<u8>>, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were dropped because the writer could not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// How often the writer checks its file while there is nothing to write: the file may have been rotated.
const IDLE: Duration = Duration::from_secs(1);

/// Writes until all recorders are gone; flushes whenever no line waits.
fn write(lines: &Receiver<Vec<u8>>, mut out: impl Write) {
    loop {
        let mut failed = match lines.recv_timeout(IDLE) {
            Ok(line) => out.write_all(&line).is_err(),
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        while let Ok(line) = lines.try_recv() {
            failed |= out.write_all(&line).is_err();
        }
        failed |= out.flush().is_err();
        if failed {
            // The disk may have room again later; a failure to record does not stop the proxy.
            tracing::warn!("access records could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, mpsc};

    struct Out(Arc<Mutex<Vec<u8>>>, mpsc::Sender<()>);

    impl Write for Out {
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
        let recorder = Recorder::to(AccessLog::Refused, Out(written.clone(), send)).unwrap();
        assert!(recorder.wants(true) && !recorder.wants(false));
        recorder.line("{\"a\":\"b\"}");
        flushed.recv().unwrap();
        assert_eq!(*written.lock().unwrap(), b"{\"a\":\"b\"}\n");
    }
}
