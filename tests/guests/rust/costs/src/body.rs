//! Searches a body for a field.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Costs;
#[cfg(not(feature = "first"))]
use crate::contract::exports::tamis::filter::request::View;
use crate::contract::exports::tamis::filter::request_body::{Decision, Guest, Verdict};

static INSPECTS: AtomicBool = AtomicBool::new(false);

/// Whether it searches bodies.
pub(crate) fn inspect(inspects: bool) {
    INSPECTS.store(inspects, Ordering::Relaxed);
}

/// Everything else is read and skipped.
#[derive(serde::Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
}

fn decide(octets: &[u8]) -> Decision {
    let reason = INSPECTS.load(Ordering::Relaxed).then(|| {
        match serde_json::from_slice::<Seen<'_>>(octets) {
            Ok(seen) if seen.model == "forbidden" => "costs.seen".to_owned(),
            Ok(_) => "costs.found".to_owned(),
            Err(_) => "costs.malformed".to_owned(),
        }
    });
    Decision { verdict: Verdict::Pass, reason }
}

impl Guest for Costs {
    #[cfg(feature = "first")]
    fn on_request_body(_: u64, octets: Vec<u8>, _: bool) -> Decision {
        decide(&octets)
    }

    #[cfg(not(feature = "first"))]
    fn on_request_body(_: View, octets: Vec<u8>, _: bool) -> Decision {
        decide(&octets)
    }
}
