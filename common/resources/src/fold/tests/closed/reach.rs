//! Of a guard that cannot be used, whatever it may have been for is closed: the mesh where its namespace or its targets
//! cannot be read, and nothing of others where they can.

use super::*;
use crate::{Security, fold_under};

const METADATA: &str = "metadata:\n  name: guard\n  namespace: f\n";
const TARGETS: &str = "  targetRefs: [{ kind: Gateway, name: edge }]\n";

/// A guard of each kind, in lines, with these metadata and targets.
fn guards(metadata: &str, targets: &str) -> [String; 2] {
    let one = |kind: &str, fields: &str| {
        format!(
            "---\nkind: {kind}\napiVersion: tamis.dev/v1alpha1\n{metadata}spec:\n{targets}{fields}"
        )
    };
    [
        one("FilterAttachment", "  filter: tamis/jwt\n  phase: authn\n  order: 10\n"),
        one("AuthorizationPolicy", "  deny: [{}]\n"),
    ]
}

/// What of the mesh is open beside this document, at a cold start and when it is added later.
fn open(document: &str) -> Vec<&'static str> {
    let text = [MESH, ROUTE, document].concat();
    let mut open = Vec::new();
    for (when, folded) in [("at a cold start", cold(&text)), ("added", sent(&text))] {
        // Nothing starts, or nobody knows what was in it.
        let Some(folded) = folded else { continue };
        let plan = folded.plan.unwrap();
        let rules = ["f/r/admin", "f/r/all", "f/wide/0"];
        open.extend(rules.iter().any(|rule| !is_closed(&plan, rule)).then_some(when));
    }
    open
}

#[test]
fn a_guard_whose_namespace_is_written_elsewhere_closes_everything() {
    let rows = [
        ("under a short key", METADATA.replace("namespace:", "ns:"), TARGETS),
        ("under the key of another system", METADATA.replace("namespace:", "tenant:"), TARGETS),
        ("without indentation", METADATA.replace("  namespace", "namespace"), TARGETS),
        ("in the name", METADATA.replace("name: guard\n  namespace: f", "name: f/guard"), TARGETS),
        ("beside empty metadata", "metadata: {}\nname: guard\nnamespace: f\n".to_owned(), TARGETS),
        ("beside no metadata", "name: guard\nnamespace: f\n".to_owned(), TARGETS),
        ("beside metadata that are text", "metadata: guard\nnamespace: f\n".to_owned(), TARGETS),
        (
            "in metadata that are a list",
            "metadata: [{ name: guard, namespace: f }]\n".to_owned(),
            TARGETS,
        ),
        (
            "in labels",
            "metadata:\n  name: guard\n  labels:\n    namespace: f\n  foo: 1\n".to_owned(),
            TARGETS,
        ),
        (
            "in labels alone",
            "metadata:\n  name: guard\n  labels: { namespace: f, a: 5 }\n".to_owned(),
            TARGETS,
        ),
        (
            "in labels that are text",
            "metadata:\n  name: guard\n  labels: namespace f\n".to_owned(),
            TARGETS,
        ),
        (
            "in annotations",
            "metadata: { name: guard, annotations: { Namespace: f, a: 5 } }\n".to_owned(),
            TARGETS,
        ),
        (
            "in the spec",
            "metadata: { name: guard }\n".to_owned(),
            "  namespace: f\n  targetRefs: [{ kind: Gateway, name: edge }]\n",
        ),
        (
            "in the spec, short",
            "metadata: { name: guard }\n".to_owned(),
            "  ns: f\n  targetRefs: [{ kind: Gateway, name: edge }]\n",
        ),
        (
            "in metadata of the spec",
            "metadata: { name: guard }\n".to_owned(),
            "  metadata: { namespace: f }\n  targetRefs: [{ kind: Gateway, name: edge }]\n",
        ),
        (
            "in the target",
            "metadata: { name: guard }\n".to_owned(),
            "  targetRefs: [{ kind: Gateway, name: edge, namespace: f }]\n",
        ),
        (
            "in the target, misspelt",
            "metadata: { name: guard }\n".to_owned(),
            "  targetRefs: [{ kind: Gateway, name: edge, Namespce: f }]\n",
        ),
        (
            "in the target, in place of its name",
            "metadata: { name: guard }\n".to_owned(),
            "  targetRefs: [{ kind: Gateway, namespace: f }]\n",
        ),
        ("nowhere, with no name", "metadata: {}\n".to_owned(), TARGETS),
    ];
    let mut wrong = Vec::new();
    for (name, metadata, targets) in rows {
        for guard in guards(&metadata, targets) {
            assert!(!read("guard.yaml", &guard).problems.is_empty(), "{guard}");
            wrong.extend(open(&guard).into_iter().map(|when| format!("{name}, {when}: {guard}")));
        }
    }
    assert!(wrong.is_empty(), "left open:\n{}", wrong.join("\n"));
}

#[test]
fn a_guard_that_may_have_been_for_the_mesh_closes_everything() {
    let metadata = "metadata: { name: guard, namespace: sec }\n";
    let mut rows: Vec<String> = [
        "[{ kind: mesh }]",
        "[{ kind: MESH }]",
        "[{ kind: Msh }]",
        "[{ kind: \"Mesh \" }]",
        "[{ kind: All }]",
        "[{ kind: [Mesh] }]",
        "[{ kind: Gatway, name: edge }]",
        "[{ name: Mesh }]",
        "[{}]",
        "[Mesh]",
        "[\"*\"]",
        "[[{ kind: Mesh }]]",
        "[{ kind: Service, name: app }, { kind: mesh }]",
        "Mesh",
        "{ kind: Mesh }",
        "[]",
        "",
    ]
    .map(|targets| format!("  targetRefs: {targets}\n"))
    .into();
    rows.extend(
        [
            "",
            "  targetRef: { kind: Mesh }\n",
            "  targets: [{ kind: mesh }]\n",
            "  targetRefs: [{ kind: Service, name: app }]\n  targetRef: [{ kind: Mesh }]\n",
            "  targetRefs: [{ kind: Service, name: app }]\n  targets: [{ kind: Mesh }]\n",
            "  targetRefs: [{ kind: Service, name: app }]\n  parents: [{ kind: Mesh }]\n",
            "  targetRefs: [{ kind: Service, name: app }]\n  selector: { kind: Mesh }\n",
        ]
        .map(str::to_owned),
    );
    let mut wrong = Vec::new();
    let mut check = |guard: &str| {
        assert!(!read("guard.yaml", guard).problems.is_empty(), "{guard}");
        wrong.extend(open(guard).into_iter().map(|when| format!("{when}: {guard}")));
    };
    for targets in &rows {
        for guard in guards(metadata, targets) {
            check(&guard);
            for (from, to) in [
                ("FilterAttachment", "FilterAttachmnt"),
                ("AuthorizationPolicy", "AuthorizationPolcy"),
                ("phase: authn", "phase: authnn"),
                ("phase: authn", "phase: authz"),
                ("v1alpha1", "v1alpha2"),
            ] {
                if guard.contains(from) {
                    check(&guard.replace(from, to));
                }
            }
        }
    }
    // Without a spec, or with one that is none.
    for guard in guards(metadata, "  targetRefs: [{ kind: Mesh }]\n") {
        let (head, spec) = guard.split_once("spec:\n").unwrap();
        check(head);
        check(&format!("{head}spec: x\n"));
        check(&format!("{head}spec: []\n"));
        check(&format!("{head}specification:\n{spec}"));
        check(&format!("{head}{}", spec.replace("\n  ", "\n").trim_start()));
    }
    assert!(wrong.is_empty(), "left open:\n{}", wrong.join("\n"));
}

#[test]
fn a_guard_that_says_what_it_is_for_closes_nothing_of_another_namespace() {
    let said = "metadata: { name: guard, namespace: g }\n";
    let mut wrong = Vec::new();
    for (metadata, targets) in [
        (said, TARGETS),
        ("metadata: { name: guard }\n", TARGETS),
        (said, "  targetRefs: [{ kind: HTTPRoute, name: r, sectionName: admin }]\n"),
        (said, "  targetRefs: [{ kind: Service, name: app }, { kind: HTTPRoute, name: r }]\n"),
        (said, "  targetRefs: [{ kind: Service, name: [app] }]\n"),
        (said, "  targetRefs: [{ kind: HTTPRoute }]\n"),
    ] {
        for guard in guards(metadata, targets) {
            for (from, to) in [
                // Sound, but for its targets.
                ("---", "---"),
                ("order: 10", "order: ten"),
                ("order: 10", "order: 10\n  onFailure: later"),
                ("phase: authn", "phase: authnn"),
                ("  phase: authn\n", ""),
                ("filter: tamis/jwt", "filter: jwt"),
                ("deny: [{}]", "deny: [{ a: b }]"),
                ("deny: [{}]", "deny: {}"),
                ("deny: [{}]", "mode: later"),
                ("v1alpha1", "v1alpha2"),
            ] {
                if !guard.contains(from) {
                    continue;
                }
                let text = [MESH, ROUTE, &guard.replace(from, to)].concat();
                for folded in [cold(&text), sent(&text)] {
                    let plan = folded.map(|one| one.plan.unwrap());
                    let shut = |plan: &NodePlan| {
                        ["f/r/admin", "f/r/all", "f/wide/0"].iter().any(|one| is_closed(plan, one))
                    };
                    if plan.as_ref().is_none_or(shut) {
                        let lost = if plan.is_none() { "lost" } else { "closed" };
                        wrong.push(format!("{lost}, {from:?} {to:?}: {guard}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "closes what is of others:\n{}", wrong.join("\n"));
}

#[test]
fn a_grant_that_cannot_be_used_is_lost_as_a_wider_one_would_hold_instead() {
    // Sound, it takes the filter away from whoever is not signed by a second person.
    let grant = "---\nkind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata:\n  name: jwt\n  namespace: f\nspec:\n  filter: tamis/jwt\n  signedBy:\n    keys: [second]\n    threshold: 1\n  limits:\n    memory: 1MiB\n";
    let text = [MESH, ROUTE, GUARD].concat();
    let sound = read("mesh.yaml", &format!("{text}{grant}"));
    assert!(!sound.lost && sound.problems.is_empty(), "a sound grant keeps nothing from starting");
    let security = ["security".to_owned()];
    let files = |_: &str| Ok(b"{}".to_vec());
    let folded = fold_under(
        &sound.documents,
        &NODE.parse().unwrap(),
        &files,
        Security::Namespaces(&security),
    );
    assert_eq!(codes(&folded.problems), Vec::<&str>::new());
    let plan = folded.plan.unwrap();
    let guard = plan.filters.iter().find(|one| one.filter == "tamis/jwt").unwrap();
    let narrowed = guard.signed_by.as_ref().map(|by| by.keys.as_slice());
    assert_eq!((narrowed, guard.refused.is_some()), (Some(&["second".to_owned()][..]), false));
    for (from, to) in [
        ("threshold", "treshold"),
        ("threshold: 1", "threshold: one"),
        ("v1alpha1", "v1alpha2"),
        ("apiVersion: tamis.dev/v1alpha1\n", ""),
        ("  namespace: f", "namespace: f"),
        ("namespace:", "ns:"),
        ("tamis/jwt", "tamis/ip_access"),
        ("tamis/jwt", "jwt"),
        ("filter: tamis/jwt\n", "filter:\n"),
        ("signedBy", "signdBy"),
        ("keys: [second]", "keys: second"),
        ("keys: [second]", "keys: []"),
        ("memory: 1MiB", "memory: some"),
        ("memory: 1MiB", "memory:"),
        ("kind: Grant", "kind: Grnt"),
        ("kind: Grant", "kind: grant"),
        ("spec:", "sepc:"),
    ] {
        let broken = grant.replace(from, to);
        assert_ne!(broken, grant, "{from}");
        let found = read("grant.yaml", &broken);
        assert!(!found.problems.is_empty(), "{from:?} {to:?}");
        assert!(found.lost && cold(&format!("{text}{broken}")).is_none(), "{from:?} {to:?}");
    }
}

#[test]
fn a_guard_inside_another_document_is_lost_wherever_it_stands_in_it() {
    let guard = &guards(METADATA, TARGETS)[0];
    let guard = guard.trim_start_matches("---\n");
    let service = "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: f }\nspec:\n  ports: [{ port: 80, protocol: http }]\n";
    let deeper = |by: &str| guard.trim_end().replace('\n', &format!("\n{by}"));
    for text in [
        format!("{service}config:\n  {}\n", deeper("  ")),
        format!("{service}  config:\n    {}\n", deeper("    ")),
        format!("{service}configSchema:\n  {}\n", deeper("  ")),
        format!("{service}note: |\n  {}\n", deeper("  ")),
        format!("{service}  note: |-\n    # a\n\n    {}\n", deeper("    ")),
        // Beside what files of filters have.
        format!(
            "cases: []\n{}",
            guard.split_once("spec:\n").unwrap().1.replace("\n  ", "\n").trim_start()
        ),
        format!(
            "name: a\nversion: '1'\nworld: authorizer\n{}",
            guard.split_once("spec:\n").unwrap().1.replace("\n  ", "\n").trim_start()
        ),
    ] {
        let found = read("a.yaml", &text);
        assert!(found.lost && !found.problems.is_empty(), "{text}: {found:#?}");
    }
    // A filter's own settings are its own, in a document that is broken elsewhere too.
    let settings = format!("{guard}  ordr: 1\n  config: {{ rules: [{{ kind: a, spec: b }}] }}\n");
    let found = read("a.yaml", &settings);
    assert!(!found.lost && found.stubs.len() == 1, "{found:#?}");
}
