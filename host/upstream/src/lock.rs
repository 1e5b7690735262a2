//! Locks of state that all workers share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex; a poisoned one is fine, since its numbers are consistent between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
