//! Something to which the caller of a change needs a right.

use serde::{Deserialize, Serialize};

/// Something to which a caller needs a right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequiredRight {
    /// A document, service or repository, by its `namespace/name`.
    Place(String),
    /// Everything in a namespace, now and later.
    Namespace(String),
    /// Every proxy of every owner.
    Mesh,
    /// Everything, now and later.
    Everything,
}
