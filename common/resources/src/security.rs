//! Whose grants and trust policies decide.

/// Whose grants and trust policies decide. Those of all others only take away from what they allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security<'a> {
    /// Everybody's: all documents are of one owner.
    Everybody,
    /// Those of these namespaces.
    Namespaces(&'a [String]),
}

impl Security<'_> {
    /// Whether the grants and trust policies of a namespace decide.
    #[must_use]
    pub fn is_in(self, namespace: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Namespaces(all) => all.iter().any(|one| one == namespace),
        }
    }
}
