//! Gateways under a registry: whatever happens to the registry, gateways run what was signed and assigned,
//! and traffic continues.
//!
//! A test named `gNN_…` checks the guarantee of that number.

mod absence;
mod author;
mod ended;
mod hostile;
mod load;
mod pairs;
mod plane;
mod refuses;
mod replicas;
mod rollouts;
mod routers;
mod tells;
mod unseen;
mod withdrawn;
