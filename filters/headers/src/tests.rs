//! Values, names and edits.

use proptest::prelude::*;
use tamis_sdk::{Config, Edit, Filter as _, Request as _, View, request, view::packed};

use tamis_sdk::Responses;

use super::*;
use template::{Template, TemplateAttribute, TemplateError};

fn errors(config: &str) -> Vec<(String, String)> {
    let settings: HeadersSettings = Config::parse(config).expect("it parses");
    let errors = HeaderRules::check(&settings).expect_err("it is refused");
    errors.into_iter().map(|error| (error.pointer, error.message)).collect()
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (config, pointer, part) in [
        (r"{}", "", "nothing would change"),
        (
            r#"{"request":{"set":[{"name":"x y","value":""}]}}"#,
            "/request/set/0/name",
            "not the name",
        ),
        (r#"{"request":{"set":[{"name":"Host","value":"a"}]}}"#, "/request/set/0/name", "owns"),
        (r#"{"request":{"remove":["X_Forwarded_For"]}}"#, "/request/remove/0", "owns"),
        (
            r#"{"response":{"add":[{"name":"x-tamis-reason","value":"a"}]}}"#,
            "/response/add/0/name",
            "owns",
        ),
        (r#"{"response":{"remove":["server","Server"]}}"#, "/response/remove/1", "another change"),
        (
            r#"{"request":{"add":[{"name":"a","value":"1"}],"remove":["a"]}}"#,
            "/request/remove/0",
            "another",
        ),
        (
            r#"{"request":{"set":[{"name":"a","value":"x\r\ny: z"}]}}"#,
            "/request/set/0/value",
            "visible ASCII",
        ),
        (
            r#"{"request":{"set":[{"name":"a","value":"{jwt.sub}"}]}}"#,
            "/request/set/0/value",
            "there are source.address",
        ),
        (r#"{"request":{"set":[{"name":"a","value":"{"}]}}"#, "/request/set/0/value", "{{ and }}"),
    ] {
        let found = errors(config);
        assert_eq!(found[0].0, pointer, "{config}: {found:?}");
        assert!(found[0].1.contains(part), "{config}: {found:?}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = errors(r#"{"request":{"remove":["host","te"]},"response":{"remove":[""]}}"#);
    let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["/request/remove/0", "/request/remove/1", "/response/remove/0"]);
}

#[test]
fn a_head_has_64_changes_at_most() {
    let names: Vec<String> = (0..65).map(|number| format!("\"x-{number}\"")).collect();
    let found = errors(&format!(r#"{{"request":{{"remove":[{}]}}}}"#, names.join(",")));
    assert_eq!(found[0].0, "/request");
    assert!(found[0].1.contains("65 changes"), "{found:?}");
}

fn on_request(config: &str, fields: &[(&str, &[u8])]) -> request::Decision {
    let (mut filter, interest) = Headers::configure(Config::parse(config).unwrap()).unwrap();
    let raw = packed(&interest.reads, fields);
    filter.on_request(View::new(&raw, &interest.reads))
}

#[test]
fn a_field_whose_attribute_is_absent_or_unfit_is_removed() {
    let config = r#"{"request":{"set":[{"name":"x-sni","value":"sni={tls.sni}"}],
                     "add":[{"name":"x-all","value":"{tls.sni}"}]}}"#;
    let long = vec![b'a'; 5000];
    for unfit in [None, Some(&b"a\r\nb"[..]), Some(&b"\xff"[..]), Some(&long[..])] {
        let fields: Vec<_> = unfit.map(|value| ("@tls.sni", value)).into_iter().collect();
        match on_request(config, &fields).verdict {
            request::Verdict::Change(edits) => {
                assert!(
                    matches!(&edits[..], [Edit::RemoveHeader(name)] if name == "x-sni"),
                    "{edits:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn it_declares_what_it_reads_and_writes_and_no_more() {
    let config = r#"{"request":{"set":[{"name":"X-A","value":"{tls.sni}{tls.sni}"}]},
                     "response":{"remove":["x-a","server"]},"responses":"local"}"#;
    let (_, interest) = Headers::configure(Config::parse(config).unwrap()).unwrap();
    assert_eq!(interest.reads, ["@tls.sni"]);
    assert_eq!(interest.writes, ["server", "x-a"]);
    assert_eq!(interest.responses, Responses::Local);
}

proptest! {
    #[test]
    fn any_text_is_a_value_or_refused(text in "\\PC{0,60}") {
        if let Ok(template) = Template::parse(&text) {
            prop_assert!(text.is_ascii());
            prop_assert!(template.facts().all(|fact| TemplateAttribute::ALL.contains(&fact)));
        }
    }

    #[test]
    fn a_text_with_doubled_braces_stands_for_itself(text in "[!-~]{0,40}") {
        let escaped = text.replace('{', "{{").replace('}', "}}");
        let reads: Vec<String> = Vec::new();
        let raw = packed(&reads, &[]);
        let template = Template::parse(&escaped).unwrap();
        prop_assert_eq!(template.text(View::new(&raw, &reads)), Some(text.into_bytes()));
    }

    #[test]
    fn a_brace_alone_is_refused(before in "[a-z]{0,5}", after in "[a-z]{0,5}") {
        for brace in ["{", "}"] {
            let text = format!("{before}{brace}{after}");
            prop_assert_eq!(Template::parse(&text), Err(TemplateError::Brace));
        }
    }
}
