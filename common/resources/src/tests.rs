//! The messages for wrong documents; no text makes the reader panic.

use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;

use crate::{Millis, Problem, Resource, RolloutBreach, parse, schemas};

fn problems(text: &str) -> Vec<Problem> {
    parse("a.yaml", text).1
}

fn rendered(problem: &Problem) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none());
    handler.render_report(&mut out, problem).unwrap();
    out
}

const SERVICE: &str = "kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: a, namespace: shop }
spec:
  ports: [{ port: 80, protocol: http }]
";

#[test]
fn a_whole_document_is_read() {
    let (documents, problems) = parse("a.yaml", SERVICE);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(documents[0].key(), "shop/a");
    assert_eq!(documents[0].kind(), "Service");
}

#[test]
fn all_errors_of_a_document_come_at_once_each_with_its_place() {
    let text = SERVICE
        .replace("name: a,", "name: 7, nmae: b,")
        .replace("port: 80, protocol: http", "port: 99999, protocol: htp");
    let found: Vec<String> = problems(&text)
        .iter()
        .map(|one| {
            let help = one.help.as_deref().unwrap_or("-");
            format!("{}:{} {} {} ({help})", one.place.line, one.place.column, one.code, one.message)
        })
        .collect();
    assert_eq!(
        found,
        [
            "3:19 field.type metadata.name must be text, found the number 7 (put it in quotes)",
            "3:22 field.unknown metadata has no field `nmae` (did you mean `name`?)",
            "5:19 field.range spec.ports[0].port must be at most 65535 (-)",
            "5:36 field.choice spec.ports[0].protocol must be one of http, http2, grpc, tcp, udp, found `htp` (did you mean `http`?)",
        ]
    );
}

#[test]
fn a_problem_is_rendered_with_its_line() {
    let text = SERVICE.replace("ports:", "prots:");
    let text = rendered(&problems(&text)[0]);
    for part in
        ["field.unknown", "spec has no field `prots`", "a.yaml:5:3", "did you mean `ports`?"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_bad_document_does_not_block_the_next() {
    let text = format!("kind: Servise\n---\n{SERVICE}");
    let (documents, problems) = parse("a.yaml", &text);
    assert_eq!(documents.len(), 1);
    assert_eq!(problems[0].help.as_deref(), Some("did you mean `Service`?"));
}

#[test]
fn what_hides_meaning_in_yaml_is_refused() {
    let deep = "[".repeat(70);
    let rows = [
        ("a: &x 1\nb: *x", "yaml.anchor"),
        ("a: !!str 1", "yaml.tag"),
        ("a: 1\na: 2", "yaml.duplicate-key"),
        ("{ [a]: 1 }", "yaml.key"),
        ("a: [", "yaml.syntax"),
        (deep.as_str(), "yaml.depth"),
        ("apiVersion: v1\nkind: Service", "document.version"),
        ("a: 1", "document.kind"),
    ];
    for (text, code) in rows {
        let found = problems(text);
        assert!(found.iter().any(|one| one.code == code), "{text}: {found:?}");
    }
}

#[test]
fn places_count_characters_and_survive_other_scripts() {
    let text = SERVICE.replace("namespace: shop", "annotations: { ü: é }, nope: 1");
    let found = problems(&text);
    assert_eq!((found[0].place.line, found[0].place.column), (3, 45), "{found:?}");
    assert_eq!(&text[found[0].place.start..found[0].place.end], "nope");
}

#[test]
fn a_text_that_is_too_large_is_refused() {
    assert_eq!(problems(&" ".repeat(4 * 1024 * 1024 + 1))[0].code, "yaml.size");
}

#[test]
fn documents_past_the_limit_are_refused() {
    let text = "---\na: 1\n".repeat(10_001);
    assert!(problems(&text).iter().any(|one| one.code == "yaml.documents"));
}

#[test]
fn every_kind_has_a_closed_schema() {
    let all = schemas();
    assert_eq!(all.len(), 19);
    for (kind, schema) in all {
        assert_eq!(schema["additionalProperties"], false, "{kind}");
        assert!(!schema.to_string().contains("$ref"), "{kind}");
    }
}

fn example() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}.yaml")).unwrap();
    let names = ["gateway", "services", "routes", "attachments", "grants", "policies", "trust"];
    names.map(read).join("\n---\n")
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = parse("x", &text);
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(text in "[-:{}\\[\\],&*!|>'\"%#@ \n\ta-c0é?]{0,80}") {
        for problem in parse("x", &text).1 {
            let _ = rendered(&problem);
        }
    }

    #[test]
    fn no_mutation_of_the_example_makes_reading_or_folding_panic(
        at in any::<prop::sample::Index>(),
        cut in 0usize..40,
        put in "[-:{}\\[\\],&*!|>'\" \na-c0é]{0,12}",
    ) {
        let text: Vec<char> = example().chars().collect();
        let at = at.index(text.len());
        let rest = (at + cut).min(text.len());
        let text: String = text[..at].iter().copied().chain(put.chars()).chain(text[rest..].iter().copied()).collect();
        let (documents, problems) = parse("x", &text);
        for problem in &problems {
            let _ = rendered(problem);
        }
        for node in ["gateway:shop/edge", "sidecar:shop/payments/1"] {
            let folded = crate::fold(&documents, &node.parse().unwrap(), &|_| Ok(b"{}".to_vec()));
            for problem in &folded.problems {
                let _ = rendered(problem);
            }
        }
    }
}

const ROLLOUT: &str = "kind: Rollout
apiVersion: tamis.dev/v1alpha1
metadata: { name: retry-1.5 }
spec:
  filter: acme/retry
  version: 1.5.0
  services: [shop/a, shop/b]
  waves: [{ percent: 5, bake: 10m }, { percent: 50 }, { percent: 100 }]
  gates: { maxTrapRate: 0.001, max5xxDelta: 0.01, maxAddedP99Ms: 2.5, maxRefusals: 0 }
  shadow: { minSamples: 1000, maxDifferences: 0 }
  onBreach: hold
";

#[test]
fn a_rollout_is_read_as_it_is_written() {
    let (documents, problems) = parse("rollout.yaml", ROLLOUT);
    assert!(problems.is_empty(), "{problems:#?}");
    let Resource::Rollout(spec) = &documents[0].resource else { panic!() };
    assert_eq!(spec.waves[0].bake, Some(Millis(600_000)));
    assert_eq!((spec.gates.max_5xx_delta, spec.gates.max_added_p99_ms), (Some(0.01), Some(2.5)));
    assert_eq!(spec.on_breach, RolloutBreach::Hold);
}

#[test]
fn a_rollout_that_makes_no_sense_is_refused_at_its_place() {
    let digest = format!("digest: sha256:{}", "0".repeat(64));
    let both = format!("version: 1.5.0\n  {digest}");
    let rows = [
        ("version: 1.5.0", both.as_str(), "one of `version`", 6),
        ("  version: 1.5.0\n", "", "one of `version`", 4),
        ("[shop/a, shop/b]", "[shop/a, shop/a]", "listed only once", 7),
        ("[shop/a, shop/b]", "[\"*\", shop/a]", "must be the only entry", 7),
        ("[shop/a, shop/b]", "[shop]", "namespace/name", 7),
        ("[shop/a, shop/b]", "[]", "must not be empty", 7),
        ("percent: 50", "percent: 5", "more than the 5 percent", 8),
        ("percent: 50", "percent: 0", "at least 1", 8),
        ("percent: 100", "percent: 99", "100 percent", 8),
        ("percent: 100", "percent: 101", "at most 100", 8),
        ("bake: 10m", "bake: 721h", "at most 720h", 8),
        ("bake: 10m", "bake: soon", "cannot be `soon`", 8),
        ("{ percent: 5, bake: 10m }, { percent: 50 }, ", "", "nothing left to compare", 8),
        ("maxTrapRate: 0.001", "maxTrapRate: 1.5", "at most 1", 9),
        ("maxTrapRate: 0.001", "maxTrapRate: -0.1", "at least 0", 9),
        ("maxTrapRate", "maxTraps", "has no field `maxTraps`", 9),
        ("minSamples: 1000", "minSamples: 0", "at least 1", 10),
        ("onBreach: hold", "onBreach: stop", "return or hold", 11),
    ];
    for (from, to, part, line) in rows {
        let text = ROLLOUT.replace(from, to);
        let (documents, problems) = parse("rollout.yaml", &text);
        assert!(documents.is_empty(), "{to}");
        assert!(problems[0].message.contains(part), "{part}: {}", problems[0].message);
        assert_eq!(problems[0].place.line, line, "{to}");
    }
}

#[test]
fn a_number_without_its_unit_is_told_with_the_unit_and_a_name_with_quotes() {
    let policy = |field: &str| {
        format!(
            "kind: UpstreamPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a, namespace: shop }}\n\
             spec: {{ targetRefs: [{{ kind: Service, name: a }}], {field} }}\n"
        )
    };
    let grant = |limit: &str| {
        format!(
            "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a, namespace: shop }}\n\
             spec: {{ filter: a/b, limits: {{ {limit} }} }}\n"
        )
    };
    for (text, help) in [
        (policy("connectTimeout: 250"), "write it with its unit, like 250s or 250ms"),
        (policy("connectTimeout: 2.5"), "write it with its unit, like 2.5s or 2.5ms"),
        (policy("keepAlive: 30"), "write it with its unit, like 30s or 30ms"),
        (grant("time: 5"), "write it with its unit, like 5s or 5ms"),
        (SERVICE.replace("name: a,", "name: 250,"), "put it in quotes"),
    ] {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!((found[0].code.as_str(), found[0].help.as_deref()), ("field.type", Some(help)));
    }
}
