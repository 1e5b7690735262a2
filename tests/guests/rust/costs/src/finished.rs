//! The end of an exchange.

use crate::Costs;
use crate::contract::exports::tamis::filter::finished::{Ending, Guest};
use crate::contract::exports::tamis::filter::request::View;

impl Guest for Costs {
    fn on_finished(seen: View, how: Ending) {
        std::hint::black_box((seen.octets.len(), how.status));
    }
}
