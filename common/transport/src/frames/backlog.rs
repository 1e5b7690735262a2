//! Frames that arrived in one read and are passed on in several parts.
//!
//! A read of 8 KiB may contain 900 frames without payload, each of which costs the HTTP/2 stack as much as a large one.
//! Whoever passes them on at once keeps all other connections of the worker waiting meanwhile.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::io::ReadBuf;

/// Frames of a part.
pub(super) const FRAMES_AT_ONCE: usize = 16;

/// The positions in a read at which a part ends.
#[derive(Debug, Default)]
pub(super) struct PartEnds {
    frames: usize,
    ends: Vec<usize>,
}

impl PartEnds {
    /// A frame begins; its header ends at `end`.
    pub(super) fn frame(&mut self, end: usize) {
        self.frames = self.frames.saturating_add(1);
        if self.frames.is_multiple_of(FRAMES_AT_ONCE) {
            self.ends.push(end);
        }
    }

    /// Frames of the first part.
    pub(super) fn first_frames(&self) -> usize {
        self.frames.min(FRAMES_AT_ONCE)
    }
}

/// The parts of a read that wait for their turns.
#[derive(Debug, Default)]
pub(super) struct FrameBacklog(VecDeque<Bytes>);

impl FrameBacklog {
    /// Keeps what comes after the first part of a read, and returns the length of that part.
    pub(super) fn keep_rest(&mut self, octets: &[u8], parts: &PartEnds) -> usize {
        let Some(first) = parts.ends.first().copied().filter(|end| *end < octets.len()) else {
            return octets.len();
        };
        let mut rest = Bytes::copy_from_slice(octets.get(first..).unwrap_or_default());
        let mut from = first;
        for end in parts.ends.iter().skip(1) {
            let part = rest.split_to(end.saturating_sub(from).min(rest.len()));
            from = *end;
            self.0.push_back(part);
        }
        if !rest.is_empty() {
            self.0.push_back(rest);
        }
        first
    }

    /// Passes on as much of the next part as there is room for. Returns the number of its frames once the whole part was
    /// passed on, and `None` if no part waits.
    pub(super) fn pass(&mut self, out: &mut ReadBuf<'_>) -> Option<usize> {
        let part = self.0.front_mut()?;
        out.put_slice(&part.split_to(part.len().min(out.remaining())));
        if !part.is_empty() {
            return Some(0);
        }
        self.0.pop_front();
        Some(FRAMES_AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_passed_on_in_parts_of_so_many_frames_and_unchanged() {
        // Frames of a read, the length of each, room of a read of the HTTP/2 stack, parts.
        for (frames, length, room, parts) in [
            (0, 0, 100, 1),
            (15, 9, 4_096, 1),
            (16, 9, 4_096, 1),
            (17, 9, 4_096, 2),
            (900, 9, 16_384, 57),
            (900, 9, 100, 57 * 2 - 2),
            (40, 100, 1_600, 3),
        ] {
            let octets: Vec<u8> =
                (0..frames * length).map(|at: usize| at.to_le_bytes()[0]).collect();
            let mut ends = PartEnds::default();
            (1..=frames).for_each(|number| ends.frame(number * length));
            let mut backlog = FrameBacklog::default();
            let first = backlog.keep_rest(&octets, &ends);
            let (mut passed, mut reads) = (octets[..first].to_vec(), 1);
            assert_eq!(ends.first_frames(), frames.min(FRAMES_AT_ONCE));
            loop {
                let mut out = vec![0; room];
                let mut out = ReadBuf::new(&mut out);
                let Some(counted) = backlog.pass(&mut out) else { break };
                assert!(counted <= FRAMES_AT_ONCE && !out.filled().is_empty());
                passed.extend_from_slice(out.filled());
                reads += 1;
            }
            assert_eq!(passed, octets, "{frames} of {length}");
            assert_eq!(reads, parts, "{frames} of {length} into {room}");
        }
    }
}
