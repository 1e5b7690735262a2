//! Callers whom a secret names, for the built-in filters that let them pass by a key or a password. Not a filter itself.
//!
//! [`list`] reads the secret again each second, [`name`] says what an accepted name changes in a request, [`anonymous`] what
//! becomes of a request without one, and [`answer`] how a caller is refused.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod anonymous;
pub mod answer;
pub mod list;
pub mod name;
