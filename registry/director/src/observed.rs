//! What ran where, according to the reports of proxies.

use std::collections::BTreeMap;

use serde::Serialize;
use tamis_resources::NodeName;
use tamis_trust::{Digest, Name, Version};

use crate::record::NodeConnections;
use crate::stamp::JournalStamp;
use tamis_sync::{NodeReport, ProblemReport, RunningReport, SlotReport};

/// What ran in a slot of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotRun {
    /// The node, like `sidecar:shop/a/0`.
    pub node: String,
    /// The slot.
    pub slot: String,
    /// The filter's name.
    pub filter: Name,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Version of the artifact.
    pub version: Version,
    /// From this moment on; milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// Until just before this moment; `None`: at least until the last report.
    pub until_ms: Option<u64>,
    /// When the node last reported it.
    pub seen_ms: u64,
    /// The journal's revision of the first report of it.
    pub revision: u64,
    /// That of the report before, if its moment is the beginning: the node said an earlier one.
    pub from_revision: Option<u64>,
    /// That of the last report of it.
    pub seen_revision: u64,
    /// That of the report which shows the end; none while there is no end.
    pub until_revision: Option<u64>,
}

/// The last report of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastReport {
    /// When; milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Its slots.
    pub slots: BTreeMap<String, SlotReport>,
    /// Its problems outside slots.
    pub problems: Vec<ProblemReport>,
}

/// Whether a node was connected to a replica of the registry, according to the last record of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastConnection {
    /// The replica.
    pub replica: String,
    /// Whether it was connected to it.
    pub connected: bool,
    /// Since when; milliseconds since the Unix epoch.
    pub since_ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObservedFleet {
    /// By service, then node.
    services: BTreeMap<String, BTreeMap<String, Node>>,
    connections: BTreeMap<String, LastConnection>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    last: Option<LastReport>,
    /// Where that report is in the journal.
    place: Option<ReportPlace>,
    /// By slot, each in the order of time; only the last one may have no end.
    runs: BTreeMap<String, Vec<SlotRun>>,
}

/// Where a report is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ReportPlace {
    revision: u64,
    time_ms: u64,
}

impl ObservedFleet {
    /// Processes a report written at `time_ms`. Reports come in the order of time.
    pub(crate) fn report(&mut self, name: &NodeName, report: &NodeReport, stamp: &JournalStamp) {
        let time_ms = stamp.time_ms;
        let nodes = self.services.entry(name.key().to_owned()).or_default();
        let node = nodes.entry(name.to_string()).or_default();
        let before = node.place;
        // Of two reports about one slot the first counts.
        let mut slots: BTreeMap<String, SlotReport> = BTreeMap::new();
        for slot in &report.slots {
            slots.entry(slot.slot.clone()).or_insert_with(|| slot.clone());
        }
        for (slot, runs) in &mut node.runs {
            let goes_on = slots.get(slot).is_some_and(|now| now.running.is_some());
            if let (false, Some(open)) = (goes_on, open(runs)) {
                open.until_ms = Some(time_ms);
                open.until_revision = Some(stamp.revision);
            }
        }
        for slot in slots.values() {
            if let Some(running) = &slot.running {
                let runs = node.runs.entry(slot.slot.clone()).or_default();
                let now = ran(name, slot, running, before, stamp);
                go_on(runs, now);
            }
        }
        for runs in node.runs.values_mut() {
            runs.retain(|one| one.until_ms.is_none_or(|until| one.from_ms < until));
        }
        node.place = Some(ReportPlace { revision: stamp.revision, time_ms });
        node.last = Some(LastReport { time_ms, slots, problems: report.problems.clone() });
    }

    /// Processes connections and disconnections.
    pub(crate) fn connections(&mut self, written: NodeConnections, stamp: &JournalStamp) {
        let NodeConnections { replica, joined, left } = written;
        let since_ms = stamp.time_ms;
        for node in left {
            // It may have connected to another replica since.
            if let Some(last) = self.connections.get_mut(&node).filter(|it| it.replica == replica) {
                *last = LastConnection { replica: replica.clone(), connected: false, since_ms };
            }
        }
        for node in joined {
            let last = LastConnection { replica: replica.clone(), connected: true, since_ms };
            self.connections.insert(node, last);
        }
    }

    pub(crate) fn connection(&self, node: &str) -> Option<&LastConnection> {
        self.connections.get(node)
    }

    pub(crate) fn all_connections(&self) -> impl Iterator<Item = (&String, &LastConnection)> {
        self.connections.iter()
    }

    /// The services with at least one proxy that has ever reported.
    pub(crate) fn services(&self) -> impl Iterator<Item = &String> {
        self.services.keys()
    }

    pub(crate) fn last(&self, name: &NodeName) -> Option<&LastReport> {
        self.services.get(name.key())?.get(&name.to_string())?.last.as_ref()
    }

    pub(crate) fn who_ran(&self, service: &str, (from_ms, to_ms): (u64, u64)) -> Vec<&SlotRun> {
        let nodes = self.services.get(service).into_iter().flat_map(BTreeMap::values);
        let runs = nodes.flat_map(|node| node.runs.values().flatten());
        runs.filter(|one| one.from_ms <= to_ms && one.until_ms.is_none_or(|until| from_ms < until))
            .collect()
    }
}

fn open(runs: &mut [SlotRun]) -> Option<&mut SlotRun> {
    runs.last_mut().filter(|last| last.until_ms.is_none())
}

/// A node's clock differs from the journal's: the start that it reports is accepted only between its two
/// reports.
fn ran(
    name: &NodeName,
    slot: &SlotReport,
    running: &RunningReport,
    before: Option<ReportPlace>,
    stamp: &JournalStamp,
) -> SlotRun {
    let before_ms = before.map_or(0, |before| before.time_ms);
    let bound = before.filter(|_| running.since_ms < before_ms);
    SlotRun {
        node: name.to_string(),
        slot: slot.slot.clone(),
        filter: slot.filter.clone(),
        digest: running.digest,
        version: running.version.clone(),
        from_ms: running.since_ms.clamp(before_ms, stamp.time_ms),
        until_ms: None,
        seen_ms: stamp.time_ms,
        revision: stamp.revision,
        from_revision: bound.map(|before| before.revision),
        seen_revision: stamp.revision,
        until_revision: None,
    }
}

fn go_on(runs: &mut Vec<SlotRun>, now: SlotRun) {
    if let Some(open) = open(runs) {
        if open.digest == now.digest && open.filter == now.filter {
            (open.seen_ms, open.seen_revision) = (now.seen_ms, now.seen_revision);
            return;
        }
        (open.until_ms, open.until_revision) = (Some(now.from_ms), Some(now.revision));
    }
    runs.push(now);
}

#[cfg(test)]
mod tests;
