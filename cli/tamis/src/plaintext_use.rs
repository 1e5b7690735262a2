//! Who still takes plain text inside the mesh, and whether anybody uses it, as a table.

use crate::table::table;
use crate::when::ago;
use tamis_api::PlaintextView;

/// A table of ports by proxy, after an empty line; empty without any.
pub(crate) fn plaintext<'a>(
    all: impl Iterator<Item = (&'a str, &'a [PlaintextView])>,
    now: u64,
) -> String {
    let row = |node: &str, one: &PlaintextView| {
        let used = match (one.open, one.used_ms) {
            (1.., _) => "now".to_owned(),
            (0, Some(ms)) => ago(now, ms),
            (0, None) => "not since it started".to_owned(),
        };
        [node.to_owned(), one.port.to_string(), one.open.to_string(), one.total.to_string(), used]
    };
    let rows: Vec<_> =
        all.flat_map(|(node, ports)| ports.iter().map(move |one| row(node, one))).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(["PROXY", "PLAIN TEXT AT", "OPEN", "ALL", "LAST USED"], &rows))
}
