//! Interned names by kind and id.

use std::collections::HashMap;

use tamis_sdk::telemetry::NameKind;

/// All names announced by the host that labels can show.
#[derive(Debug, Default)]
pub struct AnnouncedNames {
    rules: HashMap<u32, String>,
    upstreams: HashMap<u32, String>,
    endpoints: HashMap<u32, String>,
    identities: HashMap<u32, String>,
    reasons: HashMap<u32, String>,
}

impl AnnouncedNames {
    /// Stores names numbered from `first`. Returns whether a known one changed.
    pub fn learn(&mut self, kind: NameKind, first: u32, names: Vec<String>) -> bool {
        let Some(known) = self.of_mut(kind) else {
            return false;
        };
        let mut changed = false;
        for (id, name) in (first..).zip(names) {
            let before = known.insert(id, name);
            changed |= before.is_some_and(|before| known.get(&id) != Some(&before));
        }
        changed
    }

    /// The name of an id; `none` for `u32::MAX`, `unknown` when it was never announced.
    #[must_use]
    pub fn name(&self, kind: NameKind, id: u32) -> &str {
        match (id, self.of(kind)) {
            (u32::MAX, _) => "none",
            (id, Some(known)) => known.get(&id).map_or("unknown", String::as_str),
            (_, None) => "unknown",
        }
    }

    fn of(&self, kind: NameKind) -> Option<&HashMap<u32, String>> {
        match kind {
            NameKind::Rule => Some(&self.rules),
            NameKind::Upstream => Some(&self.upstreams),
            NameKind::Endpoint => Some(&self.endpoints),
            NameKind::Identity => Some(&self.identities),
            NameKind::Reason => Some(&self.reasons),
            NameKind::Filter => None,
        }
    }

    fn of_mut(&mut self, kind: NameKind) -> Option<&mut HashMap<u32, String>> {
        match kind {
            NameKind::Rule => Some(&mut self.rules),
            NameKind::Upstream => Some(&mut self.upstreams),
            NameKind::Endpoint => Some(&mut self.endpoints),
            NameKind::Identity => Some(&mut self.identities),
            NameKind::Reason => Some(&mut self.reasons),
            NameKind::Filter => None,
        }
    }
}
