//! Splits a body into lines.

use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, Bytes};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tamis_ambient::Clock;

/// The longest line, in bytes.
pub(crate) const MAX_LINE_BYTES: usize = 4 << 20;
/// What a line costs beyond its bytes, an empty one too: it is looked at.
const LINE_COST: usize = 512;
/// Bytes a millisecond that are read of a stream for long. A proxy sends some kilobytes every ten seconds.
const PACE: usize = 64;
/// Bytes that may come at once.
const BURST: usize = 2 * MAX_LINE_BYTES;

/// The lines of a body, as they arrive, and no faster than [`PACE`].
pub(crate) struct Lines {
    body: BodyDataStream,
    rest: BytesMut,
    /// Number of bytes of `rest` known to contain no line break.
    looked: usize,
    clock: Clock,
    /// Bytes that were read ahead of the allowed rate; while there are more than [`BURST`], nothing is read.
    owed: usize,
    /// When `owed` was computed.
    since: Instant,
}

impl Lines {
    pub(crate) fn new(body: Body, clock: Clock) -> Self {
        let body = body.into_data_stream();
        Self { body, rest: BytesMut::new(), looked: 0, clock, owed: 0, since: clock.now() }
    }

    /// The next line that is not empty, without its line break; `None` when the body ends. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(pause) = self.pause() {
                tokio::time::sleep(pause).await;
                continue;
            }
            if let Some(line) = self.line() {
                self.spend(line.len());
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.rest.len() >= MAX_LINE_BYTES {
                return Err(format!("a line has more than {MAX_LINE_BYTES} bytes"));
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.rest.extend_from_slice(&piece),
                Some(Err(error)) => return Err(error.to_string()),
                None if self.rest.is_empty() => return Ok(None),
                None => return Err("the last line does not end with a line break".to_owned()),
            }
        }
    }

    fn spend(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(bytes.saturating_add(LINE_COST));
    }

    /// How long nothing more is read; `None`: the next line may be.
    fn pause(&mut self) -> Option<Duration> {
        if self.owed <= BURST {
            return None;
        }
        let passed = usize::try_from(self.clock.since(self.since).as_millis());
        self.since = self.clock.now();
        self.owed = self.owed.saturating_sub(passed.unwrap_or(usize::MAX).saturating_mul(PACE));
        (self.owed > BURST).then(|| {
            let more = u64::try_from((self.owed - BURST).div_ceil(PACE)).unwrap_or(u64::MAX);
            Duration::from_millis(more)
        })
    }

    fn line(&mut self) -> Option<Bytes> {
        let found = self.rest.iter().skip(self.looked).position(|byte| *byte == b'\n');
        let Some(at) = found.map(|at| at.saturating_add(self.looked)) else {
            self.looked = self.rest.len();
            return None;
        };
        let mut line = self.rest.split_to(at.saturating_add(1));
        line.truncate(at);
        self.looked = 0;
        Some(line.freeze())
    }
}

#[cfg(test)]
mod tests {
    use tamis_ambient::ManualTime;

    use super::*;

    async fn lines(pieces: &[&'static str]) -> (Vec<String>, Option<String>) {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(*piece))).collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let mut lines = Lines::new(body, Clock::system());
        let mut found = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => found.push(String::from_utf8(line.to_vec()).unwrap()),
                Ok(None) => return (found, None),
                Err(why) => return (found, Some(why)),
            }
        }
    }

    #[test]
    fn a_flood_of_lines_is_read_no_faster_than_the_pace_whatever_is_in_them() {
        for (what, piece) in [("empty lines", "\n"), ("lines", "{}\n"), ("long lines", "x")] {
            let piece = match what {
                "long lines" => Bytes::from(format!("{}\n", piece.repeat(32 << 10))),
                _ => Bytes::from(piece.repeat(16 << 10)),
            };
            let time = ManualTime::new();
            let mut lines = Lines::new(Body::empty(), time.clock());
            let mut read = 0_usize;
            for second in 0..4 {
                // As much as is allowed now.
                while lines.pause().is_none() {
                    match lines.line() {
                        Some(line) => {
                            read += line.len() + LINE_COST;
                            lines.spend(line.len());
                        }
                        None => lines.rest.extend_from_slice(&piece),
                    }
                }
                let most = BURST + second * 1_000 * PACE + piece.len() + LINE_COST;
                assert!(read <= most && read >= BURST, "{what}: {read} of {most}");
                time.advance(Duration::from_secs(1));
            }
        }
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        let (found, why) = lines(&["a", "b\nc", "\n\n", "d\ne\n"]).await;
        assert_eq!((found, why), (["ab", "c", "d", "e"].map(str::to_owned).to_vec(), None));
    }

    #[tokio::test]
    async fn a_line_without_end_is_an_error() {
        assert!(lines(&["a\nb"]).await.1.is_some());
        let long: &'static str = "x".repeat(MAX_LINE_BYTES).leak();
        assert!(lines(&[long, "y"]).await.1.unwrap().contains("more than"));
    }
}
