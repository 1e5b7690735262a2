//! Limits that proxies, registries and clients must agree on.

/// Largest component in bytes; a Python filter has about 18 MB. What pushes, keeps or compiles a component refuses
/// a larger one.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;
