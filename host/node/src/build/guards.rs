//! What a router that refuses routes means for the filters that guard parts of them.

use tamis_proxy::Refused;
use tamis_resources::RouteFault;
use tamis_resources::plan::{FilterPlan, Phase};

/// The refusal of a guard of a part of a route that its router refuses, and the guard with its scope then: the part is
/// unknown, and other routes may now match it. Refused, it guards all routes of that namespace. `None` when the attachment
/// is not such a guard.
pub(super) fn unguarded(
    plan: &FilterPlan,
    routers: &[(&FilterPlan, Vec<RouteFault>)],
) -> Option<(FilterPlan, Refused)> {
    let scope = plan.scope.as_ref()?;
    if !matches!(plan.phase, Phase::Authn | Phase::Authz) {
        return None;
    }
    let guarded = |one: &&RouteFault| {
        let prefix = format!("{}/", one.route);
        one.whole && scope.iter().any(|entry| entry.starts_with(&prefix))
    };
    let lost = routers.iter().flat_map(|(_, left_out)| left_out.iter()).find(guarded)?;
    let namespace = format!("{}/", lost.route.split('/').next().unwrap_or_default());
    let mut wider = scope.clone();
    for (router, _) in routers {
        for route in router.config.get("routes").and_then(|it| it.as_array()).into_iter().flatten()
        {
            let name = route.get("name").and_then(|it| it.as_str()).unwrap_or_default();
            let entry = format!("{name}/");
            if name.starts_with(&namespace) && !wider.contains(&entry) {
                wider.push(entry);
            }
        }
    }
    let rule = format!(
        "the router refuses {} {} ({}: {}), of which this guards a part, so all routes of its namespace are refused",
        lost.kind, lost.route, lost.pointer, lost.message
    );
    let remedy = format!("correct {} {}", lost.kind, lost.route);
    let refused = Refused::new("route.refused", rule, "the router", remedy);
    Some((FilterPlan { scope: Some(wider), ..plan.clone() }, refused))
}
