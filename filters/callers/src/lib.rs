//! Callers whom a secret names, for the built-in filters that let them pass by a key or a password. Not a filter itself.
//!
//! [`list`] reads the secret again each second, [`name`] says what an accepted name changes in a request, and [`answer`] how a
//! caller is refused.

pub mod answer;
pub mod list;
pub mod name;
