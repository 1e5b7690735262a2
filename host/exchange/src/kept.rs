//! What exchanges that ended had in the fields that a telemetry filter declared: one buffer for a batch.

use crate::View;

/// Bytes of one exchange that are kept: names and values. A field that does not fit is left out.
pub const MAX_KEPT_OCTETS: usize = 8 * 1024;

/// Where one field is in [`KeptFields::octets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptFieldSpan {
    /// Index into the batch.
    pub exchange: u32,
    /// Index into `interest.reads`.
    pub field: u32,
    /// Offset.
    pub start: u32,
    /// For a field that `*` covers: the length of its name, which precedes the value; else 0.
    pub name_length: u32,
    /// Length of the value.
    pub length: u32,
}

/// The declared fields of a batch of exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptFields {
    /// Names and values, back to back.
    pub octets: Vec<u8>,
    /// Absent fields have no span; those of one exchange follow each other.
    pub spans: Vec<KeptFieldSpan>,
}

impl KeptFields {
    /// Adds the fields in `view`, of the exchange with that index in the batch.
    pub fn add(&mut self, exchange: u32, view: &View) {
        let first = self.octets.len();
        for span in &view.spans {
            let from = span.start as usize;
            let whole = span.name_length.saturating_add(span.length) as usize;
            let Some(octets) = view.octets.get(from..from.saturating_add(whole)) else { continue };
            let start = self.octets.len();
            if start.saturating_sub(first).saturating_add(whole) > MAX_KEPT_OCTETS {
                continue;
            }
            let Ok(start) = u32::try_from(start) else { return };
            self.octets.extend_from_slice(octets);
            let (field, name_length, length) = (span.field, span.name_length, span.length);
            self.spans.push(KeptFieldSpan { exchange, field, start, name_length, length });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldSpan, Method};

    fn view(values: &[&[u8]]) -> View {
        let mut view = View { method: Method::Get, ..View::default() };
        for (field, value) in (0..).zip(values) {
            let start = u32::try_from(view.octets.len()).unwrap();
            let length = u32::try_from(value.len()).unwrap();
            view.octets.extend_from_slice(value);
            view.spans.push(FieldSpan { field, start, name_length: 0, length });
        }
        view
    }

    #[test]
    fn each_exchange_keeps_its_fields_up_to_the_limit() {
        let mut kept = KeptFields::default();
        let (half, rest) = (vec![b'a'; MAX_KEPT_OCTETS / 2], vec![b'b'; MAX_KEPT_OCTETS / 2 + 1]);
        kept.add(0, &view(&[b"first"]));
        kept.add(1, &view(&[]));
        kept.add(2, &view(&[&half, &rest, b"short"]));
        kept.add(3, &view(&[b"last"]));
        let fields: Vec<_> = kept.spans.iter().map(|it| (it.exchange, it.field)).collect();
        assert_eq!(fields, [(0, 0), (2, 0), (2, 2), (3, 0)]);
        let text = |span: &KeptFieldSpan| {
            let start = span.start as usize;
            &kept.octets[start..start + span.length as usize]
        };
        assert_eq!(text(&kept.spans[2]), b"short");
        assert_eq!(text(&kept.spans[3]), b"last");
    }
}
