//! The result of the documents over all proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tamis_resources::{FoldResult, NodeName, ResourceStatus};

use super::{KnownProxy, Plans};
use crate::pins::ALL;
use crate::state::State;

impl Plans {
    /// The result for all documents, over all proxies: every problem once, and conditions that hold when
    /// they hold for each proxy. It has no plan.
    pub fn everything(&mut self, state: &State) -> Arc<FoldResult> {
        let revision = state.desired.revision;
        self.follow(&state.desired);
        if let Some((at, known)) = &self.everything
            && *at == revision
        {
            return Arc::clone(known);
        }
        let nodes = state.nodes();
        for node in &nodes {
            self.known(&state.desired, node);
        }
        // No proxy is declared: the result for a proxy that has every pin.
        let nobody = NodeName::Gateway { key: ALL.to_owned() };
        let nobody = nodes.is_empty().then(|| self.fold(&state.desired, &nobody));
        let known = nodes.iter().filter_map(|node| self.nodes.get(node)).map(|known| &**known);
        let everything = Arc::new(merge(
            self.statuses.as_ref().map_or(&[][..], |(_, all)| all),
            known.chain(&nobody),
        ));
        self.everything = Some((revision, Arc::clone(&everything)));
        everything
    }
}

fn merge<'a>(statuses: &[ResourceStatus], all: impl Iterator<Item = &'a KnownProxy>) -> FoldResult {
    type Id = (String, String, String);
    let id = |one: &ResourceStatus| -> Id {
        (one.kind.clone(), one.namespace.clone(), one.name.clone())
    };
    // The lock is the director's own.
    let documents = |one: &&ResourceStatus| one.kind != "FiltersLock";
    let mut by_id: BTreeMap<Id, ResourceStatus> =
        statuses.iter().filter(documents).map(|one| (id(one), one.clone())).collect();
    let (mut problems, mut seen) = (Vec::new(), BTreeSet::new());
    for known in all {
        for problem in &known.problems {
            let place = (problem.place.source.clone(), problem.message.clone());
            if seen.insert((problem.code.clone(), place)) {
                problems.push(problem.clone());
            }
        }
        for one in &known.unwell {
            let Some(status) = by_id.get_mut(&id(one)) else { continue };
            for worse in one.conditions.iter().filter(|it| !it.status) {
                let same = status.conditions.iter_mut().find(|it| it.kind == worse.kind);
                if let Some(same) = same.filter(|it| it.status) {
                    *same = worse.clone();
                }
            }
        }
    }
    FoldResult { plan: None, problems, statuses: by_id.into_values().collect() }
}
