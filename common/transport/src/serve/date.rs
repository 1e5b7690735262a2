//! The `date` of responses (RFC 9110 §6.6.1), written once a second on each thread.

use std::cell::RefCell;

use http::HeaderValue;
use tamis_ambient::Clock;

thread_local! {
    static LAST: RefCell<(u64, Option<HeaderValue>)> = const { RefCell::new((0, None)) };
}

/// Calls `write` with the value of the field.
pub(super) fn with<T>(clock: Clock, write: impl FnOnce(&HeaderValue) -> T) -> T {
    let now = clock.unix_secs();
    LAST.with_borrow_mut(|(second, last)| {
        let kept = if *second == now { last.take() } else { None };
        *second = now;
        write(last.insert(kept.unwrap_or_else(|| value(clock))))
    })
}

fn value(clock: Clock) -> HeaderValue {
    let text = httpdate::fmt_http_date(clock.wall());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tamis_ambient::ManualTime;

    use super::*;

    #[test]
    fn the_date_is_that_of_the_second() {
        let time = ManualTime::new();
        for (second, date) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
        ] {
            time.set_unix_time(Duration::from_secs(second));
            with(time.clock(), |value| assert_eq!(value, date));
        }
    }
}
