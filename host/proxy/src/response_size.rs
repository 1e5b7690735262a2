//! The size of a response's head after the edits of filters.

use crate::exchange::ExchangeState;
use tamis_exchange::{Fault, MAX_RESPONSE_HEAD_OCTETS, Refusal};

/// Refuses a head that filters made too long, unless the service's policy allows its upstream a longer one.
pub(crate) fn check_size(state: &ExchangeState) -> Result<(), Refusal> {
    let upstream = state.service.as_ref();
    let allowed = upstream.map_or(0, |upstream| upstream.response_limits().max_head_bytes);
    let fields = state.exchange.response_headers.iter();
    // As HTTP/1.1 writes them: a colon, a space and the end of the line with each.
    let bytes: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes <= MAX_RESPONSE_HEAD_OCTETS.max(allowed) {
        return Ok(());
    }
    let detail = format!("the head of the response has {bytes} bytes after the edits of filters");
    Err(Refusal::new("response.head-too-large", 502, Fault::Filter, detail))
}
