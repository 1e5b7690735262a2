//! How much the routes of one router may be together: they have many owners, and a proxy gets them in one piece.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::plan::NodePlan;
use crate::sound::{namespace, namespace_bytes};

/// Bytes of the routes of one router, as JSON. A part of a plan is one line of the stream to a proxy, which has at most
/// 4 MiB.
pub const MAX_ROUTES_BYTES: usize = 3 << 20;
/// Bytes of them that may belong to one namespace: nobody fills the room of all.
pub const MAX_NAMESPACE_ROUTES_BYTES: usize = 1 << 20;

/// Filters of one proxy, each of which has instances in every worker, and a part in each report.
pub const MAX_FILTERS: usize = 256;
/// Filters of one proxy that one namespace attaches.
pub const MAX_NAMESPACE_FILTERS: usize = 128;
/// Endpoints that one proxy knows: some kilobytes each.
pub const MAX_ENDPOINTS: usize = 65_536;
/// Endpoints that one proxy knows of the services of one namespace.
pub const MAX_NAMESPACE_ENDPOINTS: usize = 16_384;

/// What a proxy has of one kind, by namespace.
struct Share<'a> {
    what: &'static str,
    of: BTreeMap<&'a str, usize>,
    namespace_max: usize,
    all_max: usize,
}

impl<'a> Share<'a> {
    fn all(plan: &'a NodePlan) -> [Self; 2] {
        let namespace = |name: &'a str| name.split_once('/').map_or("", |(namespace, _)| namespace);
        let mut filters: BTreeMap<&str, usize> = BTreeMap::new();
        for filter in &plan.filters {
            let count = filters.entry(namespace(&filter.attachment)).or_default();
            *count = count.saturating_add(1);
        }
        let mut endpoints: BTreeMap<&str, usize> = BTreeMap::new();
        for service in &plan.services {
            let count = endpoints.entry(namespace(&service.name)).or_default();
            *count = count.saturating_add(service.endpoints.len());
        }
        let (filters_max, endpoints_max) = (MAX_NAMESPACE_FILTERS, MAX_NAMESPACE_ENDPOINTS);
        [
            Self { what: "filters", of: filters, namespace_max: filters_max, all_max: MAX_FILTERS },
            Self {
                what: "endpoints",
                of: endpoints,
                namespace_max: endpoints_max,
                all_max: MAX_ENDPOINTS,
            },
        ]
    }

    fn sum(&self) -> usize {
        self.of.values().fold(0, |sum: usize, count| sum.saturating_add(*count))
    }

    /// Why this is too much for a proxy that had `before`: a change that takes away may go on.
    fn crowds(&self, node: &str, before: Option<&Self>) -> Option<String> {
        let Self { what, of, namespace_max, all_max } = self;
        let had = |name: &str| before.and_then(|before| before.of.get(name)).copied();
        let most = of.iter().find(|(name, count)| {
            **count > *namespace_max && **count > had(name).unwrap_or_default()
        });
        if let Some((name, count)) = most {
            return Some(format!(
                "{node} would have {count} {what} of namespace {name}, and a namespace has at most {namespace_max} in a proxy"
            ));
        }
        let all = self.sum();
        (all > *all_max && all > before.map_or(0, Self::sum))
            .then(|| format!("{node} would have {all} {what}, and a proxy has at most {all_max}"))
    }
}

/// Why a change gives a proxy more than it may have; `None` if it does not.
#[must_use]
pub fn crowded_plan(before: Option<&NodePlan>, after: &NodePlan) -> Option<String> {
    let before = before.map(Share::all);
    let mut before = before.iter().flatten();
    Share::all(after).iter().find_map(|share| share.crowds(&after.node, before.next()))
}

/// A router's configuration with the routes of one namespace only, for each namespace; none if it has no routes.
#[must_use]
pub fn namespace_shares(config: &Json) -> BTreeMap<String, Json> {
    let routes = config.get("routes").and_then(Json::as_array).map(Vec::as_slice);
    let mut of: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for route in routes.unwrap_or_default() {
        of.entry(namespace(route).to_owned()).or_default().push(route.clone());
    }
    let share = |(name, routes)| {
        let mut config = config.clone();
        if let Some(place) = config.get_mut("routes") {
            *place = Json::Array(routes);
        }
        (name, config)
    };
    of.into_iter().map(share).collect()
}

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
        format!("the routes of one router would have {all} bytes; at most {MAX_ROUTES_BYTES} are allowed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn share(of: &[(&'static str, usize)]) -> Share<'static> {
        let of = of.iter().copied().collect();
        Share { what: "filters", of, namespace_max: 128, all_max: 256 }
    }

    #[test]
    fn a_proxy_has_only_so_much_of_a_namespace_and_of_all() {
        // Before, after, how the rule begins.
        for (before, after, rule) in [
            (None, &[("a", 128)][..], None),
            (None, &[("a", 129)], Some("129 filters of namespace a")),
            (None, &[("a", 128), ("b", 128)], None),
            (None, &[("a", 128), ("b", 100), ("c", 29)], Some("257 filters")),
            // What was there before stays, and may become less; others are not stopped by it.
            (Some(&[("a", 200)][..]), &[("a", 200), ("b", 1)], None),
            (Some(&[("a", 200)]), &[("a", 150)], None),
            (Some(&[("a", 200)]), &[("a", 201)], Some("201 filters of namespace a")),
            (
                Some(&[("a", 128), ("b", 128), ("c", 40)]),
                &[("a", 128), ("b", 128), ("c", 39)],
                None,
            ),
        ] {
            let before = before.map(share);
            let found = share(after).crowds("gateway:infra/edge", before.as_ref());
            assert_eq!(found.is_some(), rule.is_some(), "{after:?}: {found:?}");
            let begins = |found: String| found.contains(&format!("would have {}", rule.unwrap()));
            assert!(found.is_none_or(begins), "{after:?}");
        }
    }

    #[test]
    fn the_share_of_a_namespace_is_the_configuration_with_its_routes_alone() {
        let config =
            json!({ "x": 1, "routes": [{ "name": "a/1" }, { "name": "b/1" }, { "name": "a/2" }] });
        let shares = namespace_shares(&config);
        assert_eq!(
            shares["a"],
            json!({ "x": 1, "routes": [{ "name": "a/1" }, { "name": "a/2" }] })
        );
        assert_eq!(shares["b"], json!({ "x": 1, "routes": [{ "name": "b/1" }] }));
        assert_eq!(shares.len(), 2);
        assert!(namespace_shares(&json!({ "window": "10s" })).is_empty(), "no router");
    }

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
