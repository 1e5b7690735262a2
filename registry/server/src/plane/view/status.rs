//! Every proxy × slot: assigned, running, since when, why not.

use std::collections::{BTreeMap, BTreeSet};

use tamis_api::{AssignedView, ProxyStatus, RunningView, SlotState, SlotStatus, Status};
use tamis_director::{Assigned, Plans, State};
use tamis_resources::NodeName;
use tamis_sync::{Running, SlotReport, placed};

use crate::plane::control::{Control, now_ms};
use crate::plane::fleet::Connection;

impl Control {
    /// Every proxy that documents speak of, or those of one service.
    #[must_use]
    pub fn status(&self, service: Option<&str>) -> Status {
        let now = now_ms();
        let state = self.state();
        let mut plans = self.plans();
        let nodes = state.nodes().into_iter();
        let nodes = nodes.filter(|node| service.is_none_or(|service| node.key() == service));
        let proxies = nodes.map(|node| self.proxy(&state, &mut plans, &node, now)).collect();
        Status { revision: state.head(), now_ms: now, proxies }
    }

    fn proxy(&self, state: &State, plans: &mut Plans, node: &NodeName, now: u64) -> ProxyStatus {
        let name = node.to_string();
        let connection = self.0.fleet.connection(&name);
        let written = state.last_report(node);
        let seen_ms = connection.as_ref().map(|it| it.seen_ms).max(written.map(|it| it.time_ms));
        let wants = plans.node(state, node, now / 1_000);
        let planned = wants.plan.as_deref().map(placed).unwrap_or_default();
        let reports = reports(connection.as_ref(), written.map(|it| &it.slots));
        let refused = wants.refused.clone();
        let assigned: BTreeMap<String, Assigned> =
            wants.assigned.iter().map(|(slot, one)| (slot.clone(), (*one).clone())).collect();
        let mut names: BTreeSet<&String> = planned.keys().collect();
        names.extend(assigned.keys());
        names.extend(reports.keys());
        let slots = names.into_iter().map(|slot| {
            let filter = planned.get(slot).map(|it| it.filter.clone());
            let filter = filter
                .or_else(|| assigned.get(slot).map(|it| it.filter.to_string()))
                .or_else(|| reports.get(slot).map(|it| it.filter.to_string()));
            let why = refused.get(slot).map(|one| format!("{}: {}", one.code, one.rule));
            judge(slot, filter.unwrap_or_default(), assigned.get(slot), reports.get(slot), why)
        });
        ProxyStatus {
            node: name,
            service: node.key().to_owned(),
            connected: connection.as_ref().is_some_and(|it| it.connected),
            seen_ms,
            release: connection.as_ref().map(|it| it.release.clone()),
            current: connection.as_ref().is_some_and(|it| it.connected && it.current),
            why: connection.as_ref().and_then(|it| it.why.clone()),
            slots: slots.collect(),
        }
    }
}

/// What the proxy said last: to this replica, or else what the journal has.
fn reports(
    connection: Option<&Connection>,
    written: Option<&BTreeMap<String, SlotReport>>,
) -> BTreeMap<String, SlotReport> {
    let here = connection.and_then(|it| it.last.as_ref());
    match here {
        Some(last) => last.slots.iter().map(|slot| (slot.slot.clone(), slot.clone())).collect(),
        None => written.cloned().unwrap_or_default(),
    }
}

fn judge(
    slot: &str,
    filter: String,
    assigned: Option<&Assigned>,
    report: Option<&SlotReport>,
    unassigned: Option<String>,
) -> SlotStatus {
    let running = report.and_then(|it| it.running.as_ref());
    let refused = report.and_then(|it| it.refused.as_ref());
    let same = |running: &Running, assigned: &Assigned| {
        (running.digest, running.config) == (assigned.digest, assigned.config)
    };
    let (state, why) = match (assigned, running, refused) {
        (None, None, _) => (SlotState::Unassigned, unassigned),
        (None, Some(_), _) => {
            let why = unassigned.unwrap_or_else(|| "nothing is assigned to it".to_owned());
            (SlotState::Drift, Some(why))
        }
        (Some(assigned), Some(running), _) if same(running, assigned) => (SlotState::Serving, None),
        (Some(assigned), running, Some(refused)) if refused.digest == assigned.digest => {
            let state =
                if running.is_some() { SlotState::KeptLastGood } else { SlotState::Refused };
            (state, Some(refused.code.clone()))
        }
        (Some(_), None, _) => (SlotState::Pending, None),
        (Some(assigned), Some(running), _) if running.assignment >= assigned.version => {
            let why = "it says that it runs its assignment, and runs something else".to_owned();
            (SlotState::Drift, Some(why))
        }
        (Some(_), Some(_), _) => (SlotState::Pending, None),
    };
    SlotStatus {
        slot: slot.to_owned(),
        filter,
        assigned: assigned.map(assigned_view),
        running: running.map(running_view),
        state,
        why,
    }
}

fn assigned_view(assigned: &Assigned) -> AssignedView {
    AssignedView {
        digest: assigned.digest.to_string(),
        config: assigned.config.to_string(),
        assignment: assigned.version,
        expires_ms: assigned.expires.saturating_mul(1_000),
        rollout: assigned.rollout.clone(),
    }
}

fn running_view(running: &Running) -> RunningView {
    RunningView {
        digest: running.digest.to_string(),
        config: running.config.to_string(),
        version: running.version.to_string(),
        assignment: running.assignment,
        since_ms: running.since_ms,
    }
}
