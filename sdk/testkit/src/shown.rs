//! Values in the text of a report.

use tamis_exchange::{Edit, FieldLine, HeadSide};

/// Characters of a body that a report shows.
const BODY_SHOWN: usize = 200;

/// What edits change, each after the words "the filter".
pub(crate) fn edited(edits: &[Edit], side: HeadSide) -> impl Iterator<Item = String> {
    let message = message(side);
    let line = |field: &FieldLine| format!("`{}: {}`", field.name, text(&field.value));
    edits.iter().map(move |edit| match edit {
        Edit::SetHeader(field) => format!("set the {message} field {}", line(field)),
        Edit::AddHeader(field) => format!("added the {message} field {}", line(field)),
        Edit::RemoveHeader(name) => format!("removed the {message} field `{name}`"),
        Edit::SetPath(path) => format!("set the path to {path:?}"),
        Edit::SetAuthority(authority) => format!("set the authority to {authority:?}"),
        Edit::SetAttribute { name, value } => format!("set the attribute `{name}` to {value:?}"),
        Edit::SetStatus(status) => format!("set the status to {status}"),
        Edit::SetMethod(method) => format!("set the method to {method}"),
        Edit::EncodeBody(coding) => format!("had the body encoded with {coding}"),
    })
}

/// That a body, or a part of one, was replaced, after the words "the filter".
pub(crate) fn replaced(by: &[u8], side: HeadSide) -> String {
    let shown: String = text(by).chars().take(BODY_SHOWN).collect();
    format!("replaced the {} body by {shown:?}", message(side))
}

fn message(side: HeadSide) -> &'static str {
    match side {
        HeadSide::Request => "request",
        HeadSide::Response => "response",
    }
}

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
