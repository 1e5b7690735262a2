//! How much the routes of one router may be together: they have many owners, and a proxy gets them in one piece.

use serde_json::Value as Json;

use crate::sound::namespace_bytes;

/// Bytes of the routes of one router, as JSON. A part of a plan is one line of the stream to a proxy, which has at most
/// 4 MiB.
pub const MAX_ROUTES_BYTES: usize = 3 << 20;
/// Bytes of them that may belong to one namespace: nobody fills the room of all.
pub const MAX_NAMESPACE_ROUTES_BYTES: usize = 1 << 20;

/// Why the routes of a router's configuration are too many; `None` if they are not, or if it has no routes.
#[must_use]
pub fn crowded(config: &Json) -> Option<String> {
    let bytes = namespace_bytes(config.get("routes")?.as_array()?);
    let most = bytes.iter().find(|(_, bytes)| **bytes > MAX_NAMESPACE_ROUTES_BYTES);
    if let Some((namespace, bytes)) = most {
        return Some(format!(
            "the routes of namespace {namespace} for one router would have {bytes} bytes, and those of a namespace have at most {MAX_NAMESPACE_ROUTES_BYTES}"
        ));
    }
    let all = bytes.values().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes));
    (all > MAX_ROUTES_BYTES).then(|| {
        format!("the routes of one router would have {all} bytes, and they have at most {MAX_ROUTES_BYTES}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nobody_fills_the_room_and_all_together_have_a_bound() {
        let kib = 1024;
        for (shares, expected) in [
            (&[("a", 100 * kib)][..], None),
            (&[("a", 1000 * kib), ("b", 1000 * kib)], None),
            (&[("a", 1025 * kib), ("b", kib)], Some("namespace a ")),
            (&[("b", 600 * kib), ("a", kib), ("b", 600 * kib)], Some("namespace b ")),
            (&[("a", 1000 * kib), ("b", 1000 * kib), ("c", 1000 * kib)], None),
            (
                &[("a", 1000 * kib), ("b", 1000 * kib), ("c", 1000 * kib), ("d", 100 * kib)],
                Some("routes of one router "),
            ),
        ] {
            let routes: Vec<Json> = shares
                .iter()
                .map(|(namespace, bytes)| json!({ "name": format!("{namespace}/r"), "x": "y".repeat(*bytes) }))
                .collect();
            let found = crowded(&json!({ "routes": routes }));
            assert_eq!(found.is_some(), expected.is_some(), "{shares:?}: {found:?}");
            assert!(found.is_none_or(|found| found.contains(expected.unwrap())), "{shares:?}");
        }
        assert_eq!(crowded(&json!({ "window": "10s" })), None, "no router");
    }
}
