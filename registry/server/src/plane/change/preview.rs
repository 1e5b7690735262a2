//! An apply before it is made.

use std::sync::Arc;

use tamis_api::GrowthView;
use tamis_director::{Change, ChangeEffect, Guards, ProposalRecord, RequiredRights};
use tamis_journal::Record;
use tamis_trust::Refused;

/// What an apply would do, and what it needs.
pub(super) struct ApplyPreview {
    /// The last decision in the journal when it was computed, and its end.
    pub(super) decided: u64,
    pub(super) head: u64,
    pub(super) change: Change,
    pub(super) needs: RequiredRights,
    pub(super) guards: Guards,
    pub(super) effect: ChangeEffect,
    pub(super) refusals: Vec<Refused>,
    /// What the documents let filters do that they could not do before.
    pub(super) added: Vec<GrowthView>,
    pub(super) proposal: ProposalRecord,
    /// What is written when it is made.
    pub(super) records: Arc<[Record]>,
}
