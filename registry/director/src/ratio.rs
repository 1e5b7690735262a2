//! Shares.

/// `part / whole`; 0 when `whole` is 0.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
