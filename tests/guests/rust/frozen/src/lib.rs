//! A filter of contract 0.1, as one built in its time: generated bindings of `wit/0.1` and no SDK. It marks
//! what it sees, so that a test can tell that each of its hooks was called and understood.

wit_bindgen::generate!({
    path: "../../../../wit/0.1",
    inline: "
        package guest:frozen;
        world frozen {
            import tamis:filter/log@0.1.0;
            import tamis:filter/kv@0.1.0;
            export tamis:filter/lifecycle@0.1.0;
            export tamis:filter/request@0.1.0;
            export tamis:filter/request-body@0.1.0;
            export tamis:filter/response@0.1.0;
            export tamis:filter/response-body@0.1.0;
            export tamis:filter/router@0.1.0;
        }",
    generate_all,
});

use exports::tamis::filter::lifecycle::{BodyMode, ConfigError, Interest};
use exports::tamis::filter::{lifecycle, request, request_body, response, response_body, router};
use tamis::filter::types::{Edit, Field, View};
use tamis::filter::{kv, log};

struct Frozen;

/// `x-frozen` with this value.
fn mark(value: &[u8]) -> Vec<Edit> {
    vec![Edit::SetHeader(Field { name: "x-frozen".into(), value: value.to_vec() })]
}

impl lifecycle::Guest for Frozen {
    fn config_schema() -> String {
        r#"{"type":"object"}"#.into()
    }

    fn validate(_: String) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    /// The configuration is the way in which it sees bodies.
    fn configure(config: String) -> Result<Interest, Vec<ConfigError>> {
        let body = match config.as_str() {
            "\"buffered\"" => BodyMode::Buffered,
            "\"chunks\"" => BodyMode::Chunks,
            _ => BodyMode::None,
        };
        Ok(Interest {
            reads: vec![":path".into()],
            writes: vec!["x-frozen".into()],
            request_body: body,
            response_body: body,
            body_limit_bytes: 1_000,
            extra: Vec::new(),
        })
    }
}

impl request::Guest for Frozen {
    fn on_request(seen: View) -> request::Decision {
        log::write(log::Level::Info, "seen");
        let _ = kv::write("seen", &seen.octets, 0);
        let verdict = request::Verdict::Change(mark(&seen.octets));
        request::Decision { verdict, reason: Some("frozen.seen".into()) }
    }
}

impl request_body::Guest for Frozen {
    fn on_request_body(_: u64, octets: Vec<u8>, _: bool) -> request_body::Decision {
        let verdict = request_body::Verdict::Replace(octets.to_ascii_uppercase());
        request_body::Decision { verdict, reason: None }
    }
}

impl response::Guest for Frozen {
    fn on_response(seen: View) -> response::Decision {
        let verdict = response::Verdict::Change(mark(seen.status.to_string().as_bytes()));
        response::Decision { verdict, reason: None }
    }
}

impl response_body::Guest for Frozen {
    fn on_response_body(_: u64, octets: Vec<u8>, _: bool) -> response_body::Decision {
        let verdict = response_body::Verdict::Replace(octets.to_ascii_uppercase());
        response_body::Decision { verdict, reason: None }
    }
}

impl router::Guest for Frozen {
    fn backends() -> Vec<String> {
        vec!["test/app:80".into()]
    }

    fn rules() -> Vec<String> {
        vec!["test/frozen/0".into()]
    }

    fn on_route(_: View) -> router::Choice {
        router::Choice::Forward(router::Selection {
            rule: 0,
            backend: 0,
            request_timeout_ms: 0,
            attempt_timeout_ms: 0,
            hash: None,
            request_edits: mark(b"routed"),
            response_edits: Vec::new(),
            mirrors: Vec::new(),
        })
    }
}

export!(Frozen);
