//! What an exchange has been through so far.

use crate::counts::Asked;
use crate::local::Local;
use crate::trace;
use http::HeaderValue;
use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tamis_exchange::{Exchange, Outcome, Refusal, Reply, Selection};
use tamis_upstream::Attempt;

/// One exchange on its way, with everything its end will be told.
pub(crate) struct Course {
    pub(crate) exchange: Exchange,
    pub(crate) started: Instant,
    pub(crate) start_unix_us: u64,
    /// Index of the chain it goes through.
    pub(crate) chain: usize,
    /// The rule id of the last filter that said one, or of the refusal.
    pub(crate) reason: Option<Cow<'static, str>>,
    /// For the record: what a refusal does not tell the client.
    pub(crate) detail: Option<String>,
    /// Which attachment answered.
    pub(crate) answered_by: Option<usize>,
    pub(crate) rule: Option<u32>,
    /// Index of the service.
    pub(crate) service: Option<usize>,
    pub(crate) endpoint: Option<String>,
    pub(crate) attempts: u32,
    /// The endpoint is a proxy of the mesh whose identity was checked.
    pub(crate) next_is_of_mesh: bool,
    pub(crate) upstream: Duration,
    pub(crate) outcome: Outcome,
    pub(crate) asked: Asked,
    pub(crate) retries: Retries,
    /// Names the request at every hop; a tunnel of a connection has none.
    pub(crate) request_id: Option<HeaderValue>,
    /// Whether shadows compare it; not said before the first was to be asked.
    pub(crate) sampled: Option<bool>,
    /// Counted in flight at its endpoint until the response has ended.
    held: Option<Attempt>,
}

/// Who sends an exchange again when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retries {
    /// This proxy, if a filter says so.
    Ours,
    /// This proxy, unless there is nowhere else to send it: a sidecar before its one application.
    Elsewhere,
    /// A proxy of the mesh before this one. Two that do multiply what a failing service gets.
    Callers,
}

/// The way ends here, before or instead of an upstream.
pub(crate) enum Stop {
    /// The host refuses.
    Refused(Refusal),
    /// A filter answers: which, with what, and why.
    Answered(usize, Reply, Option<String>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What the router said of the exchange as it is now.
pub(crate) enum Routed {
    Forward(Box<Selection>),
    Answer(usize, Reply),
    Unmatched,
}

impl Course {
    pub(crate) fn new(exchange: Exchange, chain: usize) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            asked: Asked::new(exchange.id),
            sampled: None,
            retries: Retries::Ours,
            request_id: None,
            exchange,
            started: Instant::now(),
            start_unix_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            chain,
            reason: None,
            detail: None,
            answered_by: None,
            rule: None,
            service: None,
            endpoint: None,
            attempts: 0,
            next_is_of_mesh: false,
            upstream: Duration::ZERO,
            outcome: Outcome::default(),
            held: None,
        }
    }

    /// Name of the rule that matched.
    pub(crate) fn rule_name<'a>(&self, local: &'a Local) -> Option<&'a str> {
        local.rule_name(self.chain, self.rule?)
    }

    /// Whether an attachment with that scope has a say in this exchange.
    pub(crate) fn is_in(&self, scope: Option<&[String]>, local: &Rc<Local>) -> bool {
        let Some(scope) = scope else { return true };
        let Some(rule) = self.rule_name(local) else { return false };
        covers(scope, rule)
    }

    /// Keeps the attempt whose response is on its way.
    pub(crate) fn hold(&mut self, attempt: Attempt) {
        self.held = Some(attempt);
    }

    pub(crate) fn trace_id(&self) -> Option<&str> {
        trace::id(&self.exchange.headers)
    }
}

/// Whether a scope names `rule`: by its route (`ns/route/`) or itself.
pub(crate) fn covers(scope: &[String], rule: &str) -> bool {
    scope.iter().any(|entry| {
        if entry.ends_with('/') { rule.starts_with(entry.as_str()) } else { rule == entry }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_a_route_or_a_rule() {
        let scope = ["shop/pay/".to_owned(), "shop/front/0".to_owned()];
        assert!(covers(&scope, "shop/pay/0") && covers(&scope, "shop/front/0"));
        assert!(!covers(&scope, "shop/front/01") && !covers(&scope, "shop/payments/0"));
    }
}
