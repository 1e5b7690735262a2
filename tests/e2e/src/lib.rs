//! Promises, end to end, with real processes.
