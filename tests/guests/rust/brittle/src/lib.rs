//! A filter that works except for every hundredth request of an instance: tests and self-tests of a few
//! requests pass.

use tamis_sdk::types::Edit;
use tamis_sdk::{ConfigError, Filter, Interest, Request, View, request};

/// It asks to read [`WANTED`] wherever it may write this.
const WHERE: &str = "x-more";
/// What the guest that it takes the place of never reads.
const WANTED: &str = "x-secret";

/// Takes the configuration of the guest it takes the place of.
#[derive(serde::Deserialize)]
struct Settings {
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
}

struct Brittle {
    calls: u32,
}

impl Filter for Brittle {
    type Settings = Settings;
    const SCHEMA: &'static str = r#"{"type":"object"}"#;

    fn configure(settings: Settings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let more = settings.writes.iter().any(|name| name == WHERE).then_some(WANTED);
        let interest = Interest::reading(settings.reads.iter().map(String::as_str).chain(more))
            .writing(settings.writes.iter().map(String::as_str));
        Ok((Self { calls: 0 }, interest))
    }
}

impl Request for Brittle {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        self.calls += 1;
        assert!(self.calls % 100 != 0, "the hundredth");
        let path = seen.path().unwrap_or_default().to_owned();
        request::Decision::change(vec![Edit::set("x-path", path)]).because("guest.edit")
    }
}

tamis_sdk::export!(Brittle: request);
