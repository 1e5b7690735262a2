//! What filters left in their slots, for the versions that come after them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tamis_engine::{Filter, FilterState};
use tamis_trust::VerifiedFilter;

/// The time for which the proxy keeps the state of a slot that is gone: the document may come back, or get its name back.
const GONE_MAX: Duration = Duration::from_secs(3_600);
/// How many such states of one namespace are kept.
const GONE_OF_NAMESPACE_MAX: usize = 16;

/// The states of filters, by the names of their slots.
#[derive(Default)]
pub(super) struct KeptStates(HashMap<String, KeptState>);

/// The state of a filter in a slot: counters, values, its breaker.
struct KeptState {
    filter: String,
    signers: Vec<String>,
    state: Arc<FilterState>,
    /// When its slot was first gone; `None`: it is there.
    gone: Option<Instant>,
}

impl KeptStates {
    /// Keeps the state of the filter of that artifact, which is in the slot now.
    pub(super) fn keep(&mut self, slot: &str, filter: &Filter, verified: &VerifiedFilter) {
        let (filter, state) = (filter.name().to_owned(), Arc::clone(filter.state()));
        let kept = KeptState { filter, signers: signers(verified), state, gone: None };
        self.0.insert(slot.to_owned(), kept);
    }

    /// The state with which a filter continues in a slot: it has the name of the filter before, and one of the keys that
    /// signed the previous version signed it too. State of another author's filter is never passed on.
    pub(super) fn of(
        &self,
        slot: &str,
        filter: &str,
        signers: &[String],
    ) -> Option<Arc<FilterState>> {
        let kept = self.0.get(slot).filter(|kept| kept.is_of(filter, signers))?;
        Some(Arc::clone(&kept.state))
    }

    /// Forgets states whose slots have been gone for long, and the oldest where one namespace has many of them.
    pub(super) fn forget(&mut self, live: impl Fn(&str) -> bool, now: Instant) {
        let Self(states) = self;
        for (slot, kept) in states.iter_mut() {
            kept.gone = if live(slot) { None } else { kept.gone.or(Some(now)) };
        }
        let namespace = |slot: &str| slot.split('/').next().unwrap_or_default().to_owned();
        let mut gone: Vec<(Instant, String)> =
            states.iter().filter_map(|(slot, kept)| Some((kept.gone?, slot.clone()))).collect();
        gone.sort_by(|one, other| other.cmp(one));
        let mut kept: HashMap<String, usize> = HashMap::new();
        for (since, slot) in gone {
            let of_namespace = kept.entry(namespace(&slot)).or_default();
            *of_namespace = of_namespace.saturating_add(1);
            let long = now.saturating_duration_since(since) > GONE_MAX;
            if long || *of_namespace > GONE_OF_NAMESPACE_MAX {
                states.remove(&slot);
            }
        }
    }
}

#[cfg(test)]
impl KeptStates {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl KeptState {
    fn is_of(&self, filter: &str, signers: &[String]) -> bool {
        self.filter == filter && self.signers.iter().any(|signer| signers.contains(signer))
    }
}

/// The names of the keys that signed an artifact.
pub(super) fn signers(verified: &VerifiedFilter) -> Vec<String> {
    verified.signers.iter().map(|signer| signer.0.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_needs_the_name_and_a_key_of_the_one_before() {
        let kept = |signers: &[&str]| KeptState {
            filter: "acme/limit".to_owned(),
            signers: signers.iter().map(ToString::to_string).collect(),
            state: Arc::new(FilterState::new(Arc::default())),
            gone: None,
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (filter, signers, is_of) in [
            ("acme/limit", &["a"][..], true),
            ("acme/limit", &["a", "new"], true),
            ("acme/limit", &["new"], false),
            ("acme/limit", &[], false),
            ("other/limit", &["a"], false),
            ("acme/limits", &["a"], false),
        ] {
            assert_eq!(
                kept(&["a", "b"]).is_of(filter, &names(signers)),
                is_of,
                "{filter} {signers:?}"
            );
        }
    }
}
