//! What a component imports and exports, as a value.

use crate::{Contract, Hook};

/// Exports and imports of a component, for a person who audits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version of the contract that all its interfaces belong to.
    pub contract: Contract,
    /// Hook interfaces it exports.
    pub hooks: Vec<Hook>,
    /// Capabilities of `tamis:filter` it imports, by interface name (`log`, `http-client` …).
    pub imports: Vec<String>,
    /// WASI interfaces it imports; the host links them to an empty world.
    pub wasi: Vec<String>,
    /// Other exports; the host never calls them.
    pub others: Vec<String>,
    /// Size in bytes.
    pub size: usize,
}

impl Inspection {
    /// Whether it exports `hook`.
    pub fn has(&self, hook: Hook) -> bool {
        self.hooks.contains(&hook)
    }

    /// Whether it imports that capability.
    pub fn imports(&self, capability: &str) -> bool {
        self.imports.iter().any(|name| name == capability)
    }
}
