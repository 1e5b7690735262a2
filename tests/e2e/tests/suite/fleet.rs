//! Gateways under a registry: whatever happens to it, or is done to it, what runs is what was signed and assigned, and
//! traffic goes on.
//!
//! A test named `gNN_…` keeps the guarantee of that number.

mod absence;
mod hostile;
mod load;
mod plane;
mod refuses;
mod replicas;
mod rollouts;
mod tells;
mod withdrawn;
