//! Requires, removes and sets request headers, and refuses some clients by their user agent.

use std::collections::BTreeMap;

use tamis_sdk::types::Edit;
use tamis_sdk::{ConfigError, Filter, Interest, Request, Response, View, reply, request, response};

const AGENT: &str = "user-agent";
const VERSION: &str = "x-policy-version";

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    require: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    deny_agents: Vec<String>,
}

struct HeaderPolicy(Settings);

impl Filter for HeaderPolicy {
    type Settings = Settings;
    const SCHEMA: &'static str = include_str!("../../../header-policy.schema.json");

    fn configure(settings: Settings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let reads = settings.require.iter().chain(&settings.remove).map(String::as_str);
        let writes = settings.remove.iter().chain(settings.set.keys()).map(String::as_str);
        let interest = Interest::reading(distinct(reads.chain([AGENT])))
            .writing(distinct(writes.chain([VERSION])));
        Ok((Self(settings), interest))
    }
}

impl Request for HeaderPolicy {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let Self(policy) = self;
        let has = |name: &String| seen.header(name).is_some();
        if !policy.require.iter().all(has) {
            return request::Decision::answer(reply(400)).because("header-policy.missing");
        }
        let agent = seen.header(AGENT).unwrap_or_default();
        if policy.deny_agents.iter().any(|prefix| agent.starts_with(prefix.as_bytes())) {
            return request::Decision::answer(reply(403)).because("header-policy.agent");
        }
        let removed = policy.remove.iter().filter(|name| has(name)).map(Edit::remove);
        let set = policy.set.iter().map(|(name, value)| Edit::set(name, value.as_bytes()));
        request::Decision::change(removed.chain(set).collect())
    }
}

impl Response for HeaderPolicy {
    fn on_response(&mut self, _: View<'_>) -> response::Decision {
        response::Decision::change(vec![Edit::add(VERSION, *b"1")])
    }
}

/// The names, each once.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

tamis_sdk::export!(HeaderPolicy: request, response);
