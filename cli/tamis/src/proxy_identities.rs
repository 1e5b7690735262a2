//! What proxies prove inside the mesh, as a table.

use crate::table::table;
use crate::when::ago;
use tamis_api::ProxyIdentity;

/// A table of identities by proxy, after an empty line; empty without any.
pub(crate) fn identities<'a>(
    all: impl Iterator<Item = (&'a str, &'a ProxyIdentity)>,
    now: u64,
) -> String {
    let row = |(node, one): (&str, &ProxyIdentity)| {
        let renewed = one.renewed_ms.map_or_else(|| "-".to_owned(), |ms| ago(now, ms));
        [node.to_owned(), one.id.clone(), ago(now, one.expires_ms), renewed]
    };
    let rows: Vec<_> = all.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(["PROXY", "IDENTITY", "EXPIRES", "RENEWED"], &rows))
}
