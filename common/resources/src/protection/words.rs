//! The words for protection that is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::guard::Guard;

/// Rules that one text names.
const NAMED: usize = 3;
/// Characters of a host with a path that a text has.
const PLACE: usize = 120;

/// What a guard is not asked about, by rule.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    /// Rules that it was asked about on the same listener, or whose requests it was asked about.
    pub(super) here: BTreeSet<String>,
    /// Rules that take requests from others that it was asked about, with the first of them.
    pub(super) within: BTreeMap<String, String>,
    /// Rules that it was asked about on all other listeners.
    pub(super) elsewhere: BTreeSet<String>,
    /// Rules that lead to a service to which only rules led that it was asked about, with the first such service.
    pub(super) beside: BTreeMap<String, String>,
}

impl OpenRequests {
    /// What a plan says about a guard of a listener.
    pub(super) fn words(&self, guard: &str, listener: &str) -> Vec<String> {
        let mut words = Vec::new();
        let plain = |all: &BTreeSet<String>| rules(all.iter().map(|rule| format!("\"{rule}\"")));
        if !self.here.is_empty() {
            let rules = plain(&self.here);
            words.push(format!("{guard} no longer guards {rules} of listener \"{listener}\""));
        }
        if !self.within.is_empty() {
            let rules =
                rules(self.within.iter().map(|(rule, at)| format!("\"{rule}\" ({})", cut(at))));
            words.push(format!(
                "{guard} does not guard {rules} of listener \"{listener}\", which takes requests that it guarded"
            ));
        }
        if !self.elsewhere.is_empty() {
            let rules = plain(&self.elsewhere);
            words.push(format!(
                "{guard} does not guard {rules} of listener \"{listener}\", as it did on every other listener"
            ));
        }
        let of_rule = |rule: &String| {
            !self.here.contains(rule)
                && !self.within.contains_key(rule)
                && !self.elsewhere.contains(rule)
        };
        let beside = self.beside.iter().filter(|(rule, _)| of_rule(rule));
        let beside: Vec<_> = beside.map(|(rule, to)| format!("\"{rule}\" (to {to})")).collect();
        if !beside.is_empty() {
            let rules = rules(beside.into_iter());
            words.push(format!(
                "{guard} does not guard {rules} of listener \"{listener}\", and it guarded every rule that led there"
            ));
        }
        words
    }
}

/// A guard is gone from a whole listener.
pub(super) fn of_listener(guard: &Guard<'_>, listener: &str) -> String {
    format!("{guard} no longer guards listener \"{listener}\"")
}

/// `rules "shop/shop/pay", "shop/shop/admin" and 7 more`
fn rules(all: impl ExactSizeIterator<Item = String>) -> String {
    let count = all.len();
    let names = all.take(NAMED).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(NAMED) {
        0 if count == 1 => format!("rule {names}"),
        0 => format!("rules {names}"),
        more => format!("rules {names} and {more} more"),
    }
}

fn cut(place: &str) -> String {
    match place.char_indices().nth(PLACE) {
        Some((at, _)) => format!("{}…", place.get(..at).unwrap_or_default()),
        None => place.to_owned(),
    }
}
