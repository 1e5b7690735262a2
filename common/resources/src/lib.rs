//! From documents to checked values, and from these to the plan of one proxy. No I/O.
//!
//! [`parse`] reads YAML and returns every error of a document at once, each with its place. [`fold`]
//! computes the [`plan::NodePlan`] of one proxy from documents. A function of the caller reads the files
//! that documents name (key sets, public keys).
//!
//! A bad document never blocks another: it becomes a [`Problem`], and the others are used. An attachment
//! that must fail closed and cannot be placed stays in the plan as refused.
//!
//! ```
//! let text = "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\nspec: { prots: [] }\n";
//! let (documents, problems) = tamis_resources::parse("a.yaml", text);
//! assert!(documents.is_empty());
//! assert_eq!(problems[0].help.as_deref(), Some("did you mean `ports`?"));
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
// Octets of strangers are read here: no sum wraps and no cast loses a part, unnoticed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod access_rule;
mod addresses;
mod check;
mod covered;
mod document;
mod fold;
mod format;
mod kinds;
mod limits;
pub mod machine;
mod metadata;
mod narrow;
mod node_name;
mod opens;
pub mod plan;
mod problem;
mod protection;
pub mod redact;
mod room;
mod rules;
mod screen;
mod secrets;
mod security;
mod sound;
mod source;
mod span;
mod spiffe_bundle;
mod split;
mod stray;
#[cfg(test)]
mod tests;
mod text;
mod touches;
mod tree;

pub use document::{Document, NEW, ParseResult, parse, read};
pub use fold::{
    Condition, DocumentLookup, FoldResult, GuardReach, KindLookup, ResourceStatus,
    federated_authorities, federation_beyond, fold, fold_under, grant_plan, guard_reach,
    trust_beyond, trust_policies,
};
pub use format::{Bytes, Millis, Rate};
pub use kinds::*;
pub use limits::MAX_COMPONENT_BYTES;
pub use metadata::Metadata;
pub use narrow::{narrowed, uncovered_names};
pub use node_name::{NodeName, NodeNameError};
pub use problem::{Problem, SourcePlace};
pub use protection::{inbound_guards, lost_of_application, lost_protection, unguarded_gateway};
pub use room::{
    MAX_ENDPOINTS, MAX_FILTERS, MAX_NAMESPACE_ENDPOINTS, MAX_NAMESPACE_FILTERS,
    MAX_NAMESPACE_ROUTES_BYTES, MAX_ROUTES_BYTES, crowded, crowded_plan, namespace_shares,
};
pub use screen::{acts_on_screen, printable, printable_json};
pub use secrets::{SecretKind, secret_of};
pub use security::Security;
pub use sound::{
    CONFIG_REMEDY, MAX_FAULTY_ROUTES, RouteFault, RouteVerdicts, ValidationFaults, sound_routes,
};
pub use span::TextSpan;
pub use spiffe_bundle::{BundleAuthority, MAX_AUTHORITIES, MAX_BUNDLE_BYTES, SpiffeBundle};
pub use split::{ends_document, lines, parts, texts};
pub use stray::{GUARDED, stray_guards};
pub use text::{CheckedText, suggest};
pub use touches::{FieldReferent, Touch, TouchTarget, names};
pub use tree::{Value, YamlNode};
