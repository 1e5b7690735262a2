//! What finished exchanges had in the fields that a telemetry filter declared.

use crate::telemetry;

/// The declared fields of a batch of exchanges, read without copying.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    raw: &'a telemetry::Kept,
    reads: &'a [String],
}

impl<'a> Kept<'a> {
    /// Reads `raw` with the names in `reads`, in the order declared in `interest.reads`.
    #[must_use]
    pub fn new(raw: &'a telemetry::Kept, reads: &'a [String]) -> Self {
        Self { raw, reads }
    }

    /// First value of a declared field of the exchange at that index in the batch: a header, a pseudo-header or, with
    /// its `@`, an attribute.
    #[must_use]
    pub fn field(&self, exchange: usize, name: &str) -> Option<&'a [u8]> {
        let mut entries = self.entries(exchange);
        entries.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The same, if it is UTF-8.
    #[must_use]
    pub fn text(&self, exchange: usize, name: &str) -> Option<&'a str> {
        self.field(exchange, name).and_then(|octets| std::str::from_utf8(octets).ok())
    }

    /// All fields of the exchange at that index in the batch, as name and value.
    pub fn entries(&self, exchange: usize) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let kept = *self;
        let spans = &kept.raw.spans;
        // Those of one exchange follow each other, in the order of the batch.
        let first = spans.partition_point(|span| (span.exchange as usize) < exchange);
        let of = spans.iter().skip(first).take_while(move |it| it.exchange as usize == exchange);
        of.filter_map(move |span| kept.entry(span))
    }

    fn entry(&self, span: &telemetry::KeptSpan) -> Option<(&'a str, &'a [u8])> {
        let start = span.start.checked_add(span.name_length)?;
        let name = match span.name_length {
            0 => self.reads.get(span.field as usize)?.as_str(),
            length => std::str::from_utf8(self.octets(span.start, length)?).ok()?,
        };
        Some((name, self.octets(start, span.length)?))
    }

    fn octets(&self, start: u32, length: u32) -> Option<&'a [u8]> {
        self.raw.octets.get(start as usize..start.checked_add(length)? as usize)
    }
}

/// Packs the fields of a batch as the host does, for unit tests: of the fields of each exchange, those that `reads`
/// declares.
#[must_use]
pub fn packed(reads: &[String], batch: &[&[(&str, &[u8])]]) -> telemetry::Kept {
    let (mut octets, mut spans) = (Vec::new(), Vec::new());
    for (exchange, fields) in (0_u32..).zip(batch) {
        let view = crate::view::packed(reads, fields);
        let before = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        octets.extend_from_slice(&view.octets);
        spans.extend(view.spans.iter().map(|span| telemetry::KeptSpan {
            exchange,
            field: span.field,
            start: before.saturating_add(span.start),
            name_length: span.name_length,
            length: span.length,
        }));
    }
    telemetry::Kept { octets, spans }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_that_of_its_exchange() {
        let reads = ["user-agent".to_owned(), "@tenant".to_owned(), "*".to_owned()];
        let first: &[(&str, &[u8])] = &[("user-agent", b"a"), ("@tenant", b"t"), ("x-more", b"m")];
        let raw = packed(&reads, &[first, &[], &[("user-agent", b"c")]]);
        let kept = Kept::new(&raw, &reads);
        for (exchange, name, value) in [
            (0, "user-agent", Some("a")),
            (0, "@tenant", Some("t")),
            (0, "x-more", Some("m")),
            (0, "x-none", None),
            (1, "user-agent", None),
            (2, "user-agent", Some("c")),
            (2, "@tenant", None),
            (3, "user-agent", None),
        ] {
            assert_eq!(kept.text(exchange, name), value, "{exchange} {name}");
        }
    }

    #[test]
    fn a_span_outside_the_buffer_is_absent() {
        let reads = ["a".to_owned()];
        let mut raw = packed(&reads, &[&[("a", b"1")]]);
        raw.spans[0].start = u32::MAX;
        assert_eq!(Kept::new(&raw, &reads).field(0, "a"), None);
    }
}
