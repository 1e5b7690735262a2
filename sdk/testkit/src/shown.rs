//! Values in the text of a report.

/// Describes values of a header that differ from the expected ones.
pub(crate) fn differs(what: &str, wanted: &[&str], came: &[String]) -> String {
    fn shown<T: AsRef<str>>(values: &[T]) -> String {
        let quoted: Vec<String> = values.iter().map(|one| format!("{:?}", one.as_ref())).collect();
        if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
    }
    format!("{what}: expected {}, got {}", shown(wanted), shown(came))
}

pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
