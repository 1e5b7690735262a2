//! Datagrams that wait for the endpoint of their session.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Datagrams of a session that wait.
const DATAGRAMS_MAX: usize = 16;
/// Their octets.
const SESSION_BYTES_MAX: usize = 64 * 1024;
/// Octets of all sessions of a worker that wait.
const WORKER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The room of a worker for datagrams that wait.
#[derive(Clone, Default)]
pub(crate) struct WaitingRoom(Rc<Cell<usize>>);

/// The datagrams of one session that wait, first come first.
pub(crate) struct WaitingDatagrams {
    room: WaitingRoom,
    octets: usize,
    all: VecDeque<Box<[u8]>>,
}

impl WaitingDatagrams {
    /// None yet, within that room.
    pub(crate) fn new(room: &WaitingRoom) -> Self {
        Self { room: room.clone(), octets: 0, all: VecDeque::new() }
    }

    /// Lets a datagram wait; `false`: there is no room for it.
    pub(crate) fn push(&mut self, datagram: &[u8]) -> bool {
        let (own, all) = (self.octets + datagram.len(), self.room.0.get() + datagram.len());
        if self.all.len() >= DATAGRAMS_MAX || own > SESSION_BYTES_MAX || all > WORKER_BYTES_MAX {
            return false;
        }
        self.octets = own;
        self.room.0.set(all);
        self.all.push_back(datagram.into());
        true
    }

    /// The one that waits longest.
    pub(crate) fn pop(&mut self) -> Option<Box<[u8]>> {
        let datagram = self.all.pop_front()?;
        self.leave(datagram.len());
        Some(datagram)
    }

    fn leave(&mut self, octets: usize) {
        self.octets = self.octets.saturating_sub(octets);
        self.room.0.set(self.room.0.get().saturating_sub(octets));
    }
}

impl Drop for WaitingDatagrams {
    fn drop(&mut self) {
        self.leave(self.octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lets_so_many_wait_and_gives_them_back_in_order() {
        let room = WaitingRoom::default();
        let mut waiting = WaitingDatagrams::new(&room);
        let taken = (0..20_u8).filter(|one| waiting.push(&[*one])).count();
        assert_eq!(taken, DATAGRAMS_MAX);
        let all: Vec<u8> = std::iter::from_fn(|| waiting.pop()).map(|one| one[0]).collect();
        assert_eq!(all, (0..16).collect::<Vec<u8>>());
        assert!(waiting.push(&[0; 40_000]) && !waiting.push(&[0; 40_000]));
        assert!(waiting.push(&[]), "an empty datagram is one too");
        assert_eq!(room.0.get(), 40_000);
        drop(waiting);
        assert_eq!(room.0.get(), 0);
    }

    #[test]
    fn all_sessions_of_a_worker_share_its_room() {
        let room = WaitingRoom::default();
        let mut sessions = Vec::new();
        loop {
            let mut waiting = WaitingDatagrams::new(&room);
            let taken = waiting.push(&[0; SESSION_BYTES_MAX]);
            sessions.push(waiting);
            if !taken {
                break;
            }
        }
        assert_eq!(sessions.len(), WORKER_BYTES_MAX / SESSION_BYTES_MAX + 1);
        sessions.remove(0);
        assert!(sessions[0].pop().is_some() && sessions[0].push(b"x"));
    }
}
