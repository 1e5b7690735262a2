//! What runs where and why, as the admin listener tells it.

use crate::generation::Phase;
use serde::Serialize;

/// What became of the documents a proxy was last given; it may say more than the generation that serves.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// One for each attachment.
    pub slots: Vec<SlotStatus>,
    /// What is wrong with the documents, for people.
    pub problems: Vec<serde_json::Value>,
}

/// What a slot runs and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// Attachment name.
    pub attachment: String,
    /// Filter name.
    pub filter: String,
    /// Version from the signed annotations.
    pub version: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Names of the keys that signed it.
    pub signers: Vec<String>,
    /// Hooks it exports.
    pub hooks: Vec<String>,
    /// Where in the chain.
    pub phase: Phase,
    /// What it was granted.
    pub grant: serde_json::Value,
    /// `serving`, `refused:CODE`, or `kept:CODE` when the last good version goes on in its place.
    pub state: String,
    /// Why, when it is not serving what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
