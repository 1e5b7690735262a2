//! Every slot of every proxy: assigned, running, since when, why not.

use std::collections::{BTreeMap, BTreeSet};

use tamis_api::{
    AssignmentView, FleetStatus, PlaintextView, ProxyIdentity, ProxyProblem, ProxyStatus, Refused,
    RunningView, SlotStateView, SlotView,
};
use tamis_director::{AssignmentRecord, NodeWants, Plans, State};
use tamis_resources::NodeName;
use tamis_sync::{
    IdentityReport, PlaintextReport, ProblemReport, RunningReport, SlotReport, placed,
};
use tamis_trust::Timestamp;

use crate::plane::control::fleet::Connection;
use crate::plane::control::{Control, ControlState};
use crate::plane::view::revoked::RevokedCode;

impl Control {
    /// Every proxy that documents declare, or those of one service.
    #[must_use]
    pub fn status(&self, service: Option<&str>) -> FleetStatus {
        let mut status = self.reported(service);
        RevokedCode::new(self).mark(&mut status);
        status
    }

    fn reported(&self, service: Option<&str>) -> FleetStatus {
        let now = self.now_ms();
        let state = self.state();
        let mut plans = self.plans();
        let nodes = state.nodes().into_iter();
        let nodes = nodes.filter(|node| service.is_none_or(|service| node.key() == service));
        let proxies = nodes.map(|node| self.proxy(&state, &mut plans, &node, now)).collect();
        FleetStatus { revision: state.head(), now_ms: now, proxies }
    }

    fn proxy(
        &self,
        state: &ControlState,
        plans: &mut Plans,
        node: &NodeName,
        now: u64,
    ) -> ProxyStatus {
        let name = node.to_string();
        let connection = self.0.fleet.connection(&name);
        let written = state.last_report(node);
        let connected = self.connected(state, &name, connection.as_ref());
        let seen_ms = connection.as_ref().map(|it| it.seen_ms).max(written.map(|it| it.time_ms));
        let wants = plans.node(state, node, now / 1_000);
        let reports = reports(connection.as_ref(), written.map(|it| &it.slots));
        let slots = slot_views(&wants, &reports, connected);
        let here = connection.as_ref().is_some_and(|it| it.current);
        let current = match connected {
            ConnectionState::Here => here,
            ConnectionState::Elsewhere => {
                slots.iter().all(|slot| slot.state == SlotStateView::Serving)
            }
            ConnectionState::Gone | ConnectionState::Never => false,
        };
        let problems = match connection.as_ref().and_then(|it| it.last.as_ref()) {
            Some(last) => last.problems.as_slice(),
            None => written.map(|it| it.problems.as_slice()).unwrap_or_default(),
        };
        let live = connection.as_ref().filter(|it| it.connected).and_then(|it| it.last.as_ref());
        let identity = live.and_then(|last| last.identity.as_ref()).map(identity);
        let identity = identity.or_else(|| self.known_identity(&state.identities, &name));
        let plaintext = live.map(|last| last.plaintext.iter().map(plaintext).collect());
        let mut problems: Vec<ProxyProblem> = problems.iter().map(problem).collect();
        if let Some(expired) = identity.as_ref().and_then(|it| expired(it, now))
            && !problems.iter().any(|one| one.code == expired.code)
        {
            problems.push(expired);
        }
        ProxyStatus {
            identity,
            plaintext: plaintext.unwrap_or_default(),
            service: node.key().to_owned(),
            connected: matches!(connected, ConnectionState::Here | ConnectionState::Elsewhere),
            disconnected_ms: match connected {
                ConnectionState::Gone => left_ms(state, &name, connection.as_ref()).or(seen_ms),
                ConnectionState::Here | ConnectionState::Elsewhere | ConnectionState::Never => None,
            },
            seen_ms,
            release: connection.as_ref().map(|it| it.release.clone()),
            current,
            why: connection.as_ref().and_then(|it| it.why.clone()),
            problems,
            slots,
            node: name,
        }
    }

    /// Whether a proxy is connected: this replica knows its own connections, the journal those of others.
    fn connected(&self, state: &State, node: &str, here: Option<&Connection>) -> ConnectionState {
        let replica = &self.0.keys.replica;
        let written = state.last_connection(node);
        match (here, written) {
            (Some(here), _) if here.connected => ConnectionState::Here,
            (_, Some(it)) if it.connected && !self.0.fleet.is_of(replica, it) => {
                ConnectionState::Elsewhere
            }
            (None, None) => match node.parse().ok().and_then(|node| state.last_report(&node)) {
                Some(_) => ConnectionState::Gone,
                None => ConnectionState::Never,
            },
            _ => ConnectionState::Gone,
        }
    }
}

/// Whether and where a proxy is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionState {
    Here,
    /// To another replica.
    Elsewhere,
    /// It is disconnected.
    Gone,
    /// It was never connected.
    Never,
}

/// When a disconnected proxy left; `None` when that is unknown.
fn left_ms(state: &State, node: &str, here: Option<&Connection>) -> Option<u64> {
    let written = state.last_connection(node).filter(|it| !it.connected).map(|it| it.since_ms);
    here.map(|it| it.gone_ms).max(written)
}

fn identity(report: &IdentityReport) -> ProxyIdentity {
    ProxyIdentity {
        id: report.id.clone(),
        expires_ms: report.expires.saturating_mul(1_000),
        renewed_ms: report.renewed.map(|second| second.saturating_mul(1_000)),
    }
}

fn plaintext(report: &PlaintextReport) -> PlaintextView {
    let PlaintextReport { port, open, total, used } = *report;
    let used_ms = used.map(|second| second.saturating_mul(1_000));
    PlaintextView { port, open, total, used_ms }
}

/// The problem of a proxy that cannot prove who it is any more. A proxy that is not connected does not report it.
fn expired(identity: &ProxyIdentity, now: u64) -> Option<ProxyProblem> {
    let second = identity.expires_ms / 1_000;
    let message = format!(
        "its SVID expired at {}: peers accept no new connections of it; it renews it by itself for a day after that, \
         later it needs a new join token",
        Timestamp(second)
    );
    let code = "identity.renewal".to_owned();
    (second < now / 1_000).then_some(ProxyProblem { code, message })
}

fn problem(problem: &ProblemReport) -> ProxyProblem {
    ProxyProblem { code: problem.code.clone(), message: problem.message.clone() }
}

/// The last report of a proxy: to this replica, or else in the journal.
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

/// Every slot that is planned, assigned or reported.
fn slot_views(
    wants: &NodeWants<'_>,
    reports: &BTreeMap<String, SlotReport>,
    connected: ConnectionState,
) -> Vec<SlotView> {
    let planned = wants.plan.as_deref().map(placed).unwrap_or_default();
    let names = planned.keys().chain(wants.assigned.keys()).chain(reports.keys());
    let names: BTreeSet<&String> = names.collect();
    let slots = names.into_iter().map(|slot| {
        let (assigned, report) = (wants.assigned.get(slot).copied(), reports.get(slot));
        let filter = planned.get(slot).map(|it| it.filter.clone());
        let filter = filter
            .or_else(|| assigned.map(|it| it.filter.to_string()))
            .or_else(|| report.map(|it| it.filter.to_string()));
        let unassigned = wants.refused.get(slot).cloned();
        let mut view = judge(slot, filter.unwrap_or_default(), assigned, report, unassigned);
        if connected == ConnectionState::Gone && view.state != SlotStateView::Unassigned {
            view.state = SlotStateView::Disconnected;
        }
        view
    });
    slots.collect()
}

fn judge(
    slot: &str,
    filter: String,
    assigned: Option<&AssignmentRecord>,
    report: Option<&SlotReport>,
    unassigned: Option<Refused>,
) -> SlotView {
    let running = report.and_then(|it| it.running.as_ref());
    let refused = report.and_then(|it| it.refused.as_ref());
    let same = |running: &RunningReport, assigned: &AssignmentRecord| {
        (running.digest, running.config) == (assigned.digest, assigned.config)
    };
    let (state, refusal, note) = match (assigned, running, refused) {
        (None, None, _) => (SlotStateView::Unassigned, unassigned, None),
        (None, Some(_), _) => {
            let drift = unassigned.is_none().then_some("nothing is assigned to it");
            (SlotStateView::Drift, unassigned, drift)
        }
        (Some(assigned), Some(running), _) if same(running, assigned) => {
            (SlotStateView::Serving, None, None)
        }
        (Some(assigned), running, Some(refused)) if refused.digest == assigned.digest => {
            let state = if running.is_some() {
                SlotStateView::KeptLastGood
            } else {
                SlotStateView::Refused
            };
            (state, Some(refused.why.clone()), None)
        }
        (Some(_), None, _) => (SlotStateView::Pending, None, Some(PENDING)),
        (Some(assigned), Some(running), _) if running.assignment >= assigned.version => {
            let drift = "it reports that it runs its assignment, but runs something else";
            (SlotStateView::Drift, None, Some(drift))
        }
        (Some(_), Some(_), _) => (SlotStateView::Pending, None, Some(PENDING_BEHIND)),
    };
    let why = refusal.as_ref().map(sentence).or(note.map(str::to_owned));
    SlotView {
        slot: slot.to_owned(),
        filter,
        assigned: assigned.map(assigned_view),
        running: running.map(running_view),
        state,
        why,
        refusal,
        revoked: None,
    }
}

/// What a proxy does before it reports, and where to look if that takes long.
const PENDING: &str = "its proxy has not reported on this version yet: the proxy first fetches, verifies and compiles it, up to a minute for a large component; if it stays pending, read the log of the proxy";
/// The same where another version runs.
const PENDING_BEHIND: &str = "its proxy has not reported on this version yet and runs the previous one: the proxy first fetches, verifies and compiles the new one, up to a minute for a large component; if it stays pending, read the log of the proxy";

/// A refusal in one sentence.
pub(crate) fn sentence(refusal: &Refused) -> String {
    let mut text = refusal.code.clone().into_owned();
    for (before, part, after) in [
        (": ", &refusal.rule, ""),
        (" (rule of ", &refusal.set_by, ")"),
        ("; ", &refusal.remedy, ""),
    ] {
        if !part.is_empty() {
            text.push_str(before);
            text.push_str(part);
            text.push_str(after);
        }
    }
    text
}

fn assigned_view(assigned: &AssignmentRecord) -> AssignmentView {
    AssignmentView {
        digest: assigned.digest.to_string(),
        config: assigned.config.to_string(),
        assignment: assigned.version,
        expires_ms: assigned.expires.saturating_mul(1_000),
        rollout: assigned.rollout.clone(),
    }
}

fn running_view(running: &RunningReport) -> RunningView {
    RunningView {
        digest: running.digest.to_string(),
        config: running.config.to_string(),
        version: running.version.to_string(),
        assignment: running.assignment,
        since_ms: running.since_ms,
    }
}

#[cfg(test)]
mod tests {
    use tamis_sync::RefusedReport;
    use tamis_trust::{AssignmentMode, Digest, code};

    use super::*;

    fn assigned(digest: Digest) -> AssignmentRecord {
        AssignmentRecord {
            service: "shop/a".into(),
            slot: "shop/f".into(),
            filter: "acme/f".parse().unwrap(),
            digest,
            config: Digest::of(b"config"),
            version: 7,
            expires: 9,
            mode: AssignmentMode::Serve,
            rollout: None,
            envelopes: Vec::new(),
        }
    }

    fn running(digest: Digest, assignment: u64) -> RunningReport {
        let config = Digest::of(b"config");
        RunningReport { digest, config, version: "1.0.0".parse().unwrap(), assignment, since_ms: 1 }
    }

    #[test]
    fn a_refusal_of_trust_is_whole_in_the_status() {
        let made = Refused {
            code: code::THRESHOLD.into(),
            rule: "two of release and ops must have signed, release did".into(),
            set_by: "trust policy \"security/all\"".into(),
            remedy: "have ops sign it".into(),
        };
        let (new, old) = (Digest::of(b"new"), Digest::of(b"old"));
        for (runs, state) in
            [(Some(running(old, 3)), SlotStateView::KeptLastGood), (None, SlotStateView::Refused)]
        {
            let report = SlotReport {
                slot: "shop/f".into(),
                filter: "acme/f".parse().unwrap(),
                running: runs,
                refused: Some(RefusedReport { digest: new, why: made.clone() }),
            };
            // As it travels: in a report, and in the response of the API.
            let sent = serde_json::to_string(&report).unwrap();
            let report: SlotReport = serde_json::from_str(&sent).unwrap();
            let told = judge("shop/f", "acme/f".into(), Some(&assigned(new)), Some(&report), None);
            let answered = serde_json::to_string(&told).unwrap();
            let told: SlotView = serde_json::from_str(&answered).unwrap();
            assert_eq!((told.state, told.refusal), (state, Some(made.clone())));
            assert_eq!(
                told.why.as_deref(),
                Some(
                    "trust.threshold: two of release and ops must have signed, release did (rule of trust policy \
                     \"security/all\"); have ops sign it"
                )
            );
        }
        // What the director leaves without an assignment has its complete refusal too.
        let told = judge("shop/f", "acme/f".into(), None, None, Some(made.clone()));
        assert_eq!((told.state, told.refusal), (SlotStateView::Unassigned, Some(made)));
    }

    #[test]
    fn every_state_of_a_slot_follows_from_what_is_assigned_and_what_is_reported() {
        let (new, old) = (Digest::of(b"new"), Digest::of(b"old"));
        let report = |running| SlotReport {
            slot: "shop/f".into(),
            filter: "acme/f".parse().unwrap(),
            running,
            refused: None,
        };
        let rows = [
            (true, Some(report(Some(running(new, 7)))), SlotStateView::Serving),
            (true, Some(report(Some(running(old, 3)))), SlotStateView::Pending),
            (true, Some(report(Some(running(old, 7)))), SlotStateView::Drift),
            (true, Some(report(None)), SlotStateView::Pending),
            (true, None, SlotStateView::Pending),
            (false, Some(report(Some(running(old, 3)))), SlotStateView::Drift),
            (false, None, SlotStateView::Unassigned),
        ];
        for (is_assigned, report, wanted) in rows {
            let assigned = is_assigned.then(|| assigned(new));
            let told = judge("shop/f", "acme/f".into(), assigned.as_ref(), report.as_ref(), None);
            assert_eq!(told.state, wanted, "{report:?}");
            let needs_no_reason =
                matches!(wanted, SlotStateView::Serving | SlotStateView::Unassigned);
            assert_eq!(told.why.is_none(), needs_no_reason, "{report:?}: {:?}", told.why);
        }
    }
}
