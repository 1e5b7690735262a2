//! How long the rest of a response waits for a client that does not acknowledge it. QUIC keeps every octet until then, so a client
//! that is silent, or acknowledges anything but the response, would hold that memory for as long as it likes.

use std::time::Duration;

use crate::quic::SEND_BYTES;
use crate::streams::{LOOK, TAKEN_MIN, may_wait};

/// The longest time in which a client that takes as little as one may takes all that a connection keeps.
const ALL_TAKEN: Duration = Duration::from_secs(SEND_BYTES / TAKEN_MIN as u64);

/// Watches the connection of a response that QUIC has whole. QUIC does not say how much of a stream was acknowledged; a client that
/// takes something of it acknowledges packets, and more is sent to it.
pub(super) struct AcknowledgementWatch {
    acks: u64,
    sent: u64,
    /// Since the client took something.
    waited: Duration,
    all: Duration,
}

impl AcknowledgementWatch {
    /// Begins, with the ACK frames that the connection received and the octets that it sent so far.
    pub(super) fn new(acks: u64, sent: u64) -> Self {
        Self { acks, sent, waited: Duration::ZERO, all: Duration::ZERO }
    }

    /// Whether the client may be waited for further; asked once in each [`LOOK`].
    pub(super) fn may_wait(&mut self, acks: u64, sent: u64) -> bool {
        let octets = sent.saturating_sub(std::mem::replace(&mut self.sent, sent));
        let takes = acks > std::mem::replace(&mut self.acks, acks) && octets >= TAKEN_MIN as u64;
        self.waited = if takes { Duration::ZERO } else { self.waited.saturating_add(LOOK) };
        self.all = self.all.saturating_add(LOOK);
        may_wait(self.waited) && self.all < ALL_TAKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_take_a_response_is_waited_for_as_long_as_over_tcp() {
        // What happens in each second: ACK frames, octets that are sent.
        for (what, acks, octets, most) in [
            ("silence", 0, 0, 60),
            ("pings are acknowledged, and nothing else", 1, 100, 60),
            ("what is sent again is never acknowledged", 0, 100_000, 60),
            ("it reads as slowly as it may", 2, 4_096, 128),
            ("it acknowledges everything but this", 100, 1_000_000, 128),
        ] {
            let mut watch = AcknowledgementWatch::new(10, 1_000);
            let waits = (1..).take_while(|at| watch.may_wait(10 + at * acks, 1_000 + at * octets));
            assert_eq!(waits.count() + 1, most, "{what}");
        }
    }
}
