//! Who asked for changes that rules refused, since they cannot approve them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use tamis_trust::Digest;

/// Most entries; older ones are dropped, and the guards check approvals anyway.
const MOST: usize = 1_000;

/// Subjects of changes that this process refused, with who asked.
#[derive(Default)]
pub(crate) struct WantedChanges(Mutex<VecDeque<(Digest, String)>>);

impl WantedChanges {
    /// Records that somebody asked for a change that a rule refused.
    pub(crate) fn note(&self, subject: Digest, actor: &str) {
        // A poisoned lock holds complete entries.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|(known, who)| *known == subject && who == actor) {
            return;
        }
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back((subject, actor.to_owned()));
    }

    /// Whether this person, and no other known one, asked for a change.
    pub(crate) fn asked_by_nobody_but(&self, subject: &Digest, actor: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let askers = all.iter().filter(|(known, _)| known == subject);
        let askers: BTreeSet<&str> = askers.map(|(_, who)| who.as_str()).collect();
        askers == BTreeSet::from([actor])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asked_alone_is_known_and_others_may_agree() {
        let (wanted, one, other) = (WantedChanges::default(), Digest::of(b"1"), Digest::of(b"2"));
        wanted.note(one, "ada");
        wanted.note(one, "ada");
        for (subject, actor, own) in
            [(one, "ada", true), (one, "ben", false), (other, "ada", false)]
        {
            assert_eq!(wanted.asked_by_nobody_but(&subject, actor), own, "{actor}");
        }
        // Both asked: each may approve the request of the other.
        wanted.note(one, "ben");
        assert!(!wanted.asked_by_nobody_but(&one, "ada"));
        (0..MOST).for_each(|at| wanted.note(Digest::of(at.to_string().as_bytes()), "eve"));
        assert!(!wanted.asked_by_nobody_but(&one, "ada"), "it is forgotten");
    }
}
