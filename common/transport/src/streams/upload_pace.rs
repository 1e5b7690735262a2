//! How long a request waits for a client that sends nothing of its body.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::reader::{LOOK, TAKEN_MIN};

/// Looks for which what came at once may last: uploads come in bursts, and one that is quicker than it has to be may pause.
const BURST_LOOKS: usize = 8;

/// Watches a client whose body is waited for; costs nothing while there is something to read. Only the time counts in which
/// somebody waits for the client, so that nobody is blamed for an upstream that does not read.
#[derive(Debug, Default)]
pub struct UploadPace {
    /// Since when it is waited for, and the end of this look at it.
    waits: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Time waited since the last look.
    waited: Duration,
    /// Octets that came since the last look, and what is left of those before.
    came: usize,
    /// Time for which it has sent next to nothing.
    silent: Duration,
}

impl UploadPace {
    /// The client sent so much.
    pub fn came(&mut self, octets: usize) {
        self.came = self.came.saturating_add(octets);
        if let Some((since, _)) = self.waits.take() {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    /// Ready once the client has sent less than 4 KiB a second for longer than `may_wait` allows, which is asked about once in
    /// each second; call it while the client is waited for. What it sent before beyond that counts for up to 8 seconds.
    pub fn poll_look(
        &mut self,
        cx: &mut Context<'_>,
        mut may_wait: impl FnMut(Duration) -> bool,
    ) -> Poll<()> {
        loop {
            let Some((_, look)) = self.waits.as_mut() else {
                let left = LOOK.saturating_sub(self.waited);
                self.waits = Some((Instant::now(), Box::pin(tokio::time::sleep(left))));
                continue;
            };
            ready!(look.as_mut().poll(cx));
            (self.waits, self.waited) = (None, Duration::ZERO);
            let left = self.came.checked_sub(TAKEN_MIN);
            self.came = left.unwrap_or(0).min(TAKEN_MIN.saturating_mul(BURST_LOOKS));
            let sends = left.is_some();
            self.silent = if sends { Duration::ZERO } else { self.silent.saturating_add(LOOK) };
            if !sends && !may_wait(self.silent) {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Seconds after which a client is given up that sends so many octets at once, to somebody who needs so long for each piece.
    async fn given_up(sends: usize, each: Duration, needs: Duration) -> Option<u64> {
        let began = Instant::now();
        let mut pace = UploadPace::default();
        let mut tick = tokio::time::interval(each);
        let ended = async {
            loop {
                let over = poll_fn(|cx| {
                    if tick.poll_tick(cx).is_ready() && sends > 0 {
                        pace.came(sends);
                        return Poll::Ready(false);
                    }
                    pace.poll_look(cx, |silent| silent < Duration::from_secs(5)).map(|()| true)
                });
                if over.await {
                    return;
                }
                tokio::time::sleep(needs).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(600), ended).await;
        ended.is_ok().then(|| began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_next_to_nothing_is_waited_for_as_long_as_allowed() {
        for (sends, each, needs, over) in [
            (0, 500, 0, Some(5)),
            (1, 500, 0, Some(5)),
            (1_000, 500, 0, Some(5)),
            (2_048, 500, 0, None),
            // Bursts, by what they come to.
            (40 << 10, 2_000, 0, None),
            (64 << 10, 1_500, 0, None),
            (36 << 10, 9_000, 0, None),
            (1 << 20, 20_000, 0, Some(14)),
            // Whoever reads slowly waits for nobody: the next piece is there.
            (1, 500, 1_000, None),
        ] {
            let [each, needs] = [each, needs].map(Duration::from_millis);
            let found = given_up(sends, each, needs).await;
            assert_eq!(found, over, "{sends} octets each {each:?}, {needs:?}");
        }
    }
}
