//! The `date` of responses (RFC 9110 §6.6.1), written once a second on each thread.

use std::cell::RefCell;

use tamis_ambient::Clock;

use crate::outbox::Outbox;

thread_local! {
    static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Adds the field.
pub(super) fn put(outbox: &mut Outbox, clock: Clock) {
    let now = clock.unix_secs();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now || text.is_empty() {
            *second = now;
            *text = httpdate::fmt_http_date(clock.wall());
        }
        outbox.put_field("date", text.as_bytes());
    });
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
            (784_111_777, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (784_111_778, "date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"),
        ] {
            time.set_unix_time(Duration::from_secs(second));
            let mut outbox = Outbox::default();
            put(&mut outbox, time.clock());
            assert_eq!(outbox.waiting(), date.as_bytes());
        }
    }
}
