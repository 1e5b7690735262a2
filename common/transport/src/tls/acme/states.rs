//! How the orders of certificates go, for who reports it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The state of the orders for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderState {
    /// Orders that gave a certificate, since the start of the process.
    pub fulfilled: u64,
    /// Orders that failed, since the start of the process.
    pub failed: u64,
    /// When the certificate that is kept expires, in seconds since the Unix epoch; `None`: there is none.
    pub not_after: Option<i64>,
    /// When the next order is due, in seconds since the Unix epoch.
    pub due: u64,
    /// Why the last order failed, and what to do; `None`: it did not fail. The text stays the same while the reason does.
    pub problem: Option<(String, String)>,
}

/// The states by host. Read by pages and reports alone, never by the way of a request.
#[derive(Debug, Default)]
pub struct OrderStates(Mutex<BTreeMap<String, OrderState>>);

impl OrderStates {
    /// Changes the state of a host, which begins as the default.
    pub fn change(&self, host: &str, change: impl FnOnce(&mut OrderState)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(host.to_owned()).or_default());
    }

    /// Forgets the hosts for which nothing is ordered any more.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|host, _| keep(host));
    }

    /// All of them, by host.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, OrderState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
