//! Copies a field of a JSON body into a header, so that the routes can match on it: `model` of a request to a
//! language model, say. The head is held until the body was read, and the router then chooses by the header.

use tamis_sdk::{
    BodyMode, ConfigError, Edit, Filter, Interest, Request, RequestBody, View, log_panics, reply,
    request, request_body,
};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ModelRouteSettings {
    /// The field: a JSON pointer (RFC 6901).
    field: String,
    /// The header.
    header: String,
}

/// The filter.
#[derive(Debug)]
pub struct ModelRoute(ModelRouteSettings);

const LIMIT_BYTES: u32 = 1024 * 1024;
/// Longest value: routes match on short names.
const VALUE_MAX: usize = 100;

impl Filter for ModelRoute {
    type Settings = ModelRouteSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "field": { "type": "string", "pattern": "^/" },
            "header": { "type": "string" }
        },
        "required": ["field", "header"],
        "additionalProperties": false
    }"#;

    fn check(settings: &ModelRouteSettings) -> Result<(), Vec<ConfigError>> {
        match settings.field.starts_with('/') {
            true => Ok(()),
            false => Err(vec![ConfigError::at("/field", "write a JSON pointer, such as /model")]),
        }
    }

    fn configure(settings: ModelRouteSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        let interest = Interest::reading(["content-type"])
            .writing([settings.header.as_str()])
            .buffering(BodyMode::Buffered, BodyMode::None, LIMIT_BYTES);
        Ok((Self(settings), interest))
    }
}

impl Request for ModelRoute {
    /// What the client says is removed: only the body decides.
    fn on_request(&mut self, _: View<'_>) -> request::Decision {
        request::Decision::change(vec![Edit::remove(self.0.header.clone())])
    }
}

impl RequestBody for ModelRoute {
    fn on_request_body(
        &mut self,
        seen: View<'_>,
        octets: &[u8],
        _: bool,
    ) -> request_body::Decision {
        let kind = seen.text("content-type").unwrap_or_default();
        if !kind.starts_with("application/json") {
            return request_body::Decision::pass();
        }
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(octets) else {
            return request_body::Decision::answer(reply(400).text("the body is not JSON\n"))
                .because("model-route.no-json");
        };
        let value = body.pointer(&self.0.field).and_then(serde_json::Value::as_str);
        let plain =
            |value: &&str| value.len() <= VALUE_MAX && value.bytes().all(|b| b.is_ascii_graphic());
        match value.filter(plain) {
            Some(value) => {
                request_body::Decision::change(vec![Edit::set(self.0.header.clone(), value)])
            }
            None => request_body::Decision::pass(),
        }
    }
}

tamis_sdk::export!(ModelRoute: request, request_body);
