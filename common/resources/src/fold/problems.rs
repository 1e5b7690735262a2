//! The problems that a fold finds.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::Problem;

/// Problems that are kept of one document. Nobody reads more, and a document can have as many as it has words.
pub(super) const MAX_OF_DOCUMENT: usize = 100;

/// Problems in the order in which they were found, of each document the first [`MAX_OF_DOCUMENT`].
#[derive(Debug, Default)]
pub(super) struct FoldProblems {
    kept: Vec<Problem>,
    /// The number that was found, by document.
    found: BTreeMap<Option<String>, usize>,
    /// Where each was found, and what.
    known: BTreeSet<(String, usize, String)>,
}

impl FoldProblems {
    pub(super) fn push(&mut self, problem: Problem) {
        let found = self.found.entry(problem.of.clone()).or_default();
        *found = found.saturating_add(1);
        if *found <= MAX_OF_DOCUMENT {
            self.kept.push(problem);
        }
    }

    /// Whether a problem of this kind is asked about for the first time at its place: several sockets of a proxy find the same.
    pub(super) fn is_new(&mut self, problem: &Problem, kind: &str) -> bool {
        let place = &problem.place;
        self.known.insert((place.source.clone(), place.start, kind.to_owned()))
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.kept
    }
}
