//! Asks another service whether a request may pass, and remembers what it said for a while. Without an answer the
//! request is refused.

use tamis_sdk::types::Field;
use tamis_sdk::{
    ConfigError, Edit, Filter, Interest, Request, View, http_client, kv, log_panics, reply, request,
};

/// What the operator writes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExternalAuthorizerSettings {
    /// The question is a GET of this URL with the `authorization` of the request: 200 allows, 401 and 403 refuse.
    url: String,
    /// How long an answer counts.
    remember_ms: u32,
}

/// The filter.
#[derive(Debug)]
pub struct Authorizer(ExternalAuthorizerSettings);

const TIMEOUT_MS: u32 = 1_000;
/// Header of the answer, given to the service.
const USER: &str = "x-user";

impl Filter for Authorizer {
    type Settings = ExternalAuthorizerSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "url": { "type": "string" },
            "rememberMs": { "type": "integer", "minimum": 1 }
        },
        "required": ["url", "rememberMs"],
        "additionalProperties": false
    }"#;

    fn configure(
        settings: ExternalAuthorizerSettings,
    ) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        Ok((Self(settings), Interest::reading(["authorization"]).writing([USER])))
    }
}

/// What the other service said.
enum Answer {
    /// The request is this user's.
    Allowed(String),
    Refused,
}

impl Authorizer {
    /// Asks. `Err`: there is no answer, with the reason for the decision trail.
    fn ask(&self, authorization: &[u8]) -> Result<Answer, &'static str> {
        let question = http_client::Outgoing {
            method: "GET".to_owned(),
            url: self.0.url.clone(),
            headers: vec![Field {
                name: "authorization".to_owned(),
                value: authorization.to_vec(),
            }],
            body: Vec::new(),
            timeout_ms: TIMEOUT_MS,
        };
        let answer = http_client::send(&question).map_err(|failure| match failure {
            http_client::Failure::Denied(_) => "authorizer.denied-by-grant",
            http_client::Failure::Timeout => "authorizer.timeout",
            _ => "authorizer.unreachable",
        })?;
        match answer.status {
            200 => {
                let user = answer.headers.into_iter().find(|field| field.name == USER);
                let user = user.map(|field| String::from_utf8_lossy(&field.value).into_owned());
                Ok(Answer::Allowed(user.unwrap_or_default()))
            }
            401 | 403 => Ok(Answer::Refused),
            _ => Err("authorizer.failed"),
        }
    }
}

impl Request for Authorizer {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let Some(authorization) = seen.header("authorization") else {
            return request::Decision::answer(reply(401).text("who are you?\n"))
                .because("authorizer.no-token");
        };
        // The store has the token itself as its key: no other filter and no other proxy sees it.
        let key = String::from_utf8_lossy(authorization).into_owned();
        let remembered = kv::read(&key).map(|entry| entry.value);
        let answer = match remembered.as_deref() {
            Some([b'+', user @ ..]) => {
                Ok(Answer::Allowed(String::from_utf8_lossy(user).into_owned()))
            }
            Some(_) => Ok(Answer::Refused),
            None => self.ask(authorization),
        };
        if let (None, Ok(answer)) = (&remembered, &answer) {
            let value = match answer {
                Answer::Allowed(user) => format!("+{user}"),
                Answer::Refused => "-".to_owned(),
            };
            // A full store costs a question more, and nothing else.
            drop(kv::write(&key, value.as_bytes(), self.0.remember_ms));
        }
        match answer {
            Ok(Answer::Allowed(user)) => request::Decision::change(vec![Edit::set(USER, user)]),
            Ok(Answer::Refused) => request::Decision::answer(reply(403).text("not for you\n"))
                .because("authorizer.refused"),
            Err(reason) => {
                request::Decision::answer(reply(503).text("ask again later\n")).because(reason)
            }
        }
    }
}

tamis_sdk::export_authorizer!(Authorizer);
