//! A filter that is built from the same text for contract 0.1 and for the newest one, with generated bindings and no SDK. It looks at
//! a few fields of a head, or searches a JSON body for a field, and passes everything.

mod body;
#[cfg(feature = "finished")]
mod finished;

/// Contract 0.1, which does not change.
#[cfg(feature = "first")]
mod contract {
    wit_bindgen::generate!({
        path: "../../../../wit/0.1",
        inline: "
            package guest:costs;
            world costs {
                export tamis:filter/lifecycle@0.1.0;
                export tamis:filter/request@0.1.0;
                export tamis:filter/request-body@0.1.0;
                export tamis:filter/response@0.1.0;
            }",
        generate_all,
    });
}

#[cfg(not(any(feature = "first", feature = "finished")))]
mod contract {
    wit_bindgen::generate!({
        path: "../../../../wit",
        inline: "
            package guest:costs;
            world costs {
                export tamis:filter/lifecycle@0.2.0;
                export tamis:filter/request@0.2.0;
                export tamis:filter/request-body@0.2.0;
                export tamis:filter/response@0.2.0;
            }",
        generate_all,
    });
}

#[cfg(feature = "finished")]
mod contract {
    wit_bindgen::generate!({
        path: "../../../../wit",
        inline: "
            package guest:costs;
            world costs {
                export tamis:filter/lifecycle@0.2.0;
                export tamis:filter/request@0.2.0;
                export tamis:filter/request-body@0.2.0;
                export tamis:filter/response@0.2.0;
                export tamis:filter/finished@0.2.0;
            }",
        generate_all,
    });
}

#[cfg(not(feature = "first"))]
use contract::exports::tamis::filter::lifecycle::Responses;
use contract::exports::tamis::filter::lifecycle::{BodyMode, ConfigError, Guest, Interest};
use contract::exports::tamis::filter::request::{Decision, Verdict, View};
use contract::exports::tamis::filter::{request, response};

struct Costs;

/// The fields that it reads; a span refers to one by its place here.
const READS: [&str; 4] = [":path", "x-a", "x-b", "@source.address"];
/// Longest body that it asks for.
const BODY_BYTES_MAX: u32 = 8 << 20;

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Show it bodies whole.
    body: bool,
    /// Search them for a field.
    inspect: bool,
}

impl Guest for Costs {
    fn config_schema() -> String {
        r#"{"type":"object"}"#.into()
    }

    fn validate(_: String) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    fn configure(config: String) -> Result<Interest, Vec<ConfigError>> {
        let settings: Settings = serde_json::from_str(&config).map_err(|error| {
            vec![ConfigError { pointer: String::new(), message: error.to_string() }]
        })?;
        body::inspect(settings.inspect);
        Ok(Interest {
            reads: READS.map(str::to_owned).to_vec(),
            writes: Vec::new(),
            request_body: if settings.body { BodyMode::Buffered } else { BodyMode::None },
            response_body: BodyMode::None,
            body_limit_bytes: BODY_BYTES_MAX,
            #[cfg(not(feature = "first"))]
            responses: Responses::Upstream,
            extra: Vec::new(),
        })
    }
}

/// The value of a field.
fn value(seen: &View, field: usize) -> &[u8] {
    let span = seen.spans.iter().find(|span| span.field as usize == field);
    let range = span.map(|span| {
        let start = (span.start + span.name_length) as usize;
        start..start + span.length as usize
    });
    range.and_then(|range| seen.octets.get(range)).unwrap_or_default()
}

impl request::Guest for Costs {
    fn on_request(seen: View) -> Decision {
        let reason = (0..READS.len())
            .any(|field| value(&seen, field) == b"forbidden")
            .then(|| "costs.seen".to_owned());
        Decision { verdict: Verdict::Pass, reason }
    }
}

impl response::Guest for Costs {
    fn on_response(seen: response::View) -> response::Decision {
        let reason = (seen.status == 299).then(|| "costs.seen".to_owned());
        response::Decision { verdict: response::Verdict::Pass, reason }
    }
}

contract::export!(Costs with_types_in contract);
