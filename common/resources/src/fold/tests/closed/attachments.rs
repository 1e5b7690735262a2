//! Misused attachments, and what a router must cover.

use super::*;

#[test]
fn a_lock_that_cannot_be_used_is_lost_as_the_pins_of_another_for_all_services_would_hold_instead() {
    let lock = "---\nkind: FiltersLock\napiVersion: tamis.dev/v1alpha1\nfilters:\n  - service: f/edge\n    filter: tamis/jwt\n    version: 1.0.1\n    digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000002'\n";
    // The pins of two locks contradict each other: none holds.
    let text = [MESH, ROUTE, GUARD].concat();
    let plan = cold(&format!("{text}{lock}")).unwrap().plan.unwrap();
    assert!(is_closed(&plan, "f/r/admin"));
    for (from, to) in [
        ("sha256:0", "sha256:"),
        ("version: 1.0.1", "versoin: 1.0.1"),
        ("service: f/edge", "service: edge"),
        ("filter: tamis/jwt", "filter: jwt"),
        ("    filter: tamis/jwt\n", ""),
        ("filters:", "filtres:"),
        ("v1alpha1", "v1alpha2"),
        ("FiltersLock", "FilterLock"),
    ] {
        let broken = lock.replace(from, to);
        let found = read("lock.yaml", &broken);
        assert!(found.lost && !found.problems.is_empty(), "{from:?} {to:?}: {found:#?}");
        assert!(cold(&format!("{text}{broken}")).is_none(), "{from:?} {to:?}");
    }
}

#[test]
fn how_an_attachment_is_misused_is_told_at_the_field_that_does_it() {
    let route = |more: &str| {
        format!(
            "{MESH}{ROUTE}\n---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: own, namespace: f }}\n\
             spec: {{ targetRefs: [{{ kind: Gateway, name: edge }}], filter: tamis/route, phase: traffic, order: 40, {more} }}\n"
        )
    };
    for (config, code) in [
        ("config: [strict]", Some("attachment.config")),
        ("config: strict", Some("attachment.config")),
        ("config: {}", None),
        ("onFailure: closed", None),
    ] {
        let folded = cold(&route(config)).unwrap();
        let found = folded.problems.iter().find(|one| one.code == "attachment.config");
        assert_eq!(found.map(|one| one.code.as_str()), code, "{config}: {:#?}", folded.problems);
        let Some(problem) = found else { continue };
        assert!(problem.message.contains("are an object"), "{}", problem.message);
        let text = route(config);
        let place = &text[problem.place.start..];
        let at = ["config", "strict", "[strict]"].iter().any(|it| place.starts_with(it));
        assert!(at, "{config}: {:?}", problem.place);
        // The router that was there routes on.
        let plan = folded.plan.unwrap();
        let routers =
            plan.filters.iter().filter(|one| one.filter == "tamis/route" && one.refused.is_none());
        assert_eq!(routers.count(), 1, "{config}");
    }
}

#[test]
fn a_router_receives_its_settings_and_what_it_must_cover_beside_its_routes() {
    let of = |text: &str| {
        let plan = folded(&read("mesh.yaml", text).documents).plan.unwrap();
        plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap().clone()
    };
    let settings = "phase: traffic, order: 10, config: { canary: { share: 5 } }";
    for (text, config, covers) in [
        (format!("{MESH}{ROUTE}"), serde_json::Value::Null, &[][..]),
        (format!("{MESH}{ROUTE}{GUARD}"), serde_json::Value::Null, &["f/r/admin"]),
        (
            format!("{MESH}{ROUTE}{GUARD}").replace("phase: traffic, order: 10", settings),
            serde_json::json!({ "canary": { "share": 5 } }),
            &["f/r/admin"],
        ),
        (
            format!("{MESH}{ROUTE}{GUARD}").replace(", sectionName: admin", ""),
            serde_json::Value::Null,
            &["f/r/"],
        ),
    ] {
        let router = of(&text);
        assert!(router.refused.is_none(), "{:?}", router.refused);
        assert_eq!(router.config["routes"].as_array().unwrap().len(), 2);
        assert_eq!(router.config.get("config").cloned().unwrap_or_default(), config);
        assert_eq!(router.covers, covers);
        for (pointer, place) in [
            ("/config/canary/share", "/spec/config/canary/share"),
            ("/config", "/spec/config"),
            ("/routes/0/name", "/spec/filter"),
        ] {
            assert_eq!(router.config_place(pointer), place);
        }
    }
}
