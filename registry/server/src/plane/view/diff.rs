//! The effect of a change in the form of the API.

use tamis_api::{
    Diff, DocumentDiff, EmptiedChain, FieldChange, SlotChange, SlotContents, SlotDiff,
};
use tamis_director::{self as director, Change};
use tamis_oci::Verb;
use tamis_resources::NodeName;

use crate::plane::problem::document;
use crate::plane::rights::AuthorizedCaller;

/// The documents of a change: those added or changed, and those removed.
#[derive(Debug, Clone, Default)]
struct Keys {
    changed: Vec<String>,
    removed: Vec<String>,
}

fn keys(change: &Change) -> Keys {
    let Change::Apply(applied) = change else { return Keys::default() };
    let documents = applied.documents.iter().map(|one| one.key.clone());
    let files = applied.files.iter().map(|one| one.path.clone());
    let gone = applied.removed.iter().chain(&applied.removed_files).cloned();
    Keys { changed: documents.chain(files).collect(), removed: gone.collect() }
}

/// The diff of a change with that effect, without what is not for whoever asks to see.
pub(crate) fn diff(
    mut diff: director::ChangeEffect,
    change: &Change,
    holder: &AuthorizedCaller,
) -> Diff {
    let keys = keys(change);
    diff.problems.retain(|one| is_for(holder, one));
    let mut diff = Diff {
        slots: diff.slots.into_iter().map(slot).collect(),
        others: diff.others,
        documents: diff
            .documents
            .into_iter()
            .map(|one| DocumentDiff { key: one.key, fields: fields(one.fields) })
            .collect(),
        documents_changed: keys.changed,
        documents_removed: keys.removed,
        nodes_added: diff.nodes_added,
        nodes_removed: diff.nodes_removed,
        emptied: diff
            .emptied
            .into_iter()
            .map(|(node, listener)| EmptiedChain { node, listener })
            .collect(),
        unguarded: diff.unguarded,
        problems: diff.problems.iter().map(document).collect(),
        services: diff.services,
        touched: diff.touched,
    };
    seen(&mut diff, holder);
    diff
}

/// Whether a problem is for somebody to see: it is of a document that he may change or see, whatever its source is called.
pub(crate) fn is_for(holder: &AuthorizedCaller, problem: &tamis_resources::Problem) -> bool {
    let place = problem.of.as_deref().and_then(|key| Some(key.split_once('/')?.1)).unwrap_or("*");
    [Verb::Observe, Verb::Operate]
        .iter()
        .any(|verb| holder.may_at(*verb, "*") || (place != "*" && holder.may_at(*verb, place)))
}

pub(crate) fn fields(fields: Vec<director::FieldEffect>) -> Vec<FieldChange> {
    let field = |one: director::FieldEffect| FieldChange {
        field: one.field,
        before: one.before,
        after: one.after,
    };
    fields.into_iter().map(field).collect()
}

/// Leaves out services of others.
fn seen(diff: &mut Diff, holder: &AuthorizedCaller) {
    if holder.sees("*") {
        return;
    }
    let sees = |service: &str| holder.sees(service);
    let node = |node: &str| node.parse::<NodeName>().is_ok_and(|node| sees(node.key()));
    diff.slots.retain(|slot| sees(&slot.service));
    diff.others.retain(|service, _| sees(service));
    diff.nodes_added.retain(|one| node(one));
    diff.nodes_removed.retain(|one| node(one));
    diff.emptied.retain(|one| node(&one.node));
    diff.unguarded.retain(|service, _| sees(service));
    diff.touched.retain(|service| sees(service));
}

fn slot(slot: director::SlotEffect) -> SlotDiff {
    let (change, before, after, parts) = match slot.change {
        director::SlotTransition::Added { after } => {
            (SlotChange::Added, None, Some(after), Vec::new())
        }
        director::SlotTransition::Removed { before } => {
            (SlotChange::Removed, Some(before), None, Vec::new())
        }
        director::SlotTransition::Changed { before, after, parts } => {
            (SlotChange::Changed, Some(before), Some(after), parts)
        }
    };
    SlotDiff {
        service: slot.service,
        slot: slot.slot,
        nodes: slot.nodes,
        guards: slot.guards,
        change,
        before: before.map(contents),
        after: after.map(contents),
        parts: parts.into_iter().map(|part| word(part).to_owned()).collect(),
    }
}

/// The content of a slot in the form of the API.
pub(crate) fn contents(side: director::SlotContent) -> SlotContents {
    SlotContents {
        filter: side.filter,
        version: side.version,
        digest: side.digest.map(|digest| digest.to_string()),
        config: side.config.to_string(),
        refused: side.refused,
        why: None,
    }
}

fn word(part: director::SlotAspect) -> &'static str {
    match part {
        director::SlotAspect::Filter => "filter",
        director::SlotAspect::Digest => "digest",
        director::SlotAspect::Config => "config",
        director::SlotAspect::Grant => "grant",
        director::SlotAspect::Placement => "placement",
        director::SlotAspect::Faults => "faults",
        director::SlotAspect::World => "world",
        director::SlotAspect::Refused => "refused",
    }
}
