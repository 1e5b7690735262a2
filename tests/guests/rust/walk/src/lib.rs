//! A filter that changes and judges requests and bodies, and routes them, as configured.

use tamis_sdk::types::Edit;
use tamis_sdk::{
    BodyMode, ConfigError, Filter, Hedge, Interest, Request, RequestBody, Response, ResponseBody,
    Responses, Router, View, hedge, http_client, reply, request, request_body, response,
    response_body, router,
};

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Walk {
    reads: Vec<String>,
    writes: Vec<String>,
    /// Header to set, to what.
    set: Vec<(String, String)>,
    /// Header of responses to set, to what.
    response_set: Vec<(String, String)>,
    /// Which responses its hook sees: `local`, `all`, or those of upstreams.
    responses: String,
    /// Replace responses with this status by a page.
    page_for: Option<u16>,
    /// Status to set in responses.
    response_status: Option<u16>,
    /// Method to set in requests.
    method: Option<String>,
    /// Fail on responses, but in the host's self-test.
    response_trap: bool,
    /// Headers to add to requests, each of a name of its own.
    add: usize,
    /// The same for responses.
    response_add: usize,
    /// Path to set.
    path: Option<String>,
    /// Answer requests with this status.
    answer: Option<u16>,
    /// Answer requests that have this header with 403.
    deny_with: Option<String>,
    /// Fail on requests that have this header.
    trap_with: Option<String>,
    /// Fail on requests and bodies, but in the host's self-test.
    trap: bool,
    /// Fail on chunks of request bodies that contain this.
    trap_on_chunk: Option<String>,
    /// Judge bodies whole, up to so many bytes.
    whole_up_to: Option<u32>,
    /// `capitals`, `swallow`, `answer`, `hold`, `hold-all`, `path`, `seen`, `rewrite` or nothing.
    body: String,
    /// Hold up to so many bytes of chunks.
    hold_up_to: u32,
    /// Hedge after so many microseconds for each exchange that was seen, and one more.
    hedge_us: Option<u32>,
    /// Time for a request that it routes; 0: any.
    timeout_ms: u32,
    /// Prefixes of paths and the names of their rules.
    rules: Vec<(String, String)>,
    /// Leave what no rule matches to the other router.
    extend: bool,
    /// The hook that calls out and shows what came of it, on the way of a head or as a body.
    calls_at: String,
    /// Where it calls.
    calls: String,
}

impl Filter for Walk {
    type Settings = Self;
    const SCHEMA: &'static str = r#"{"type":"object"}"#;

    fn configure(settings: Self) -> Result<(Self, Interest), Vec<ConfigError>> {
        let interest = Interest::reading(settings.reads.iter().map(String::as_str))
            .writing(settings.writes.iter().map(String::as_str));
        let interest = interest.seeing(match settings.responses.as_str() {
            "local" => Responses::Local,
            "all" => Responses::All,
            _ => Responses::Upstream,
        });
        let interest = match settings.whole_up_to {
            Some(limit) => interest.buffering(BodyMode::Buffered, BodyMode::Buffered, limit),
            None => interest.buffering(BodyMode::Chunks, BodyMode::Chunks, settings.hold_up_to),
        };
        Ok((settings, interest))
    }
}

impl Walk {
    /// What came of a call, if this is the hook that makes one.
    fn called(&self, at: &str) -> Option<String> {
        (self.calls_at == at).then(|| {
            let outgoing = http_client::Outgoing {
                method: "GET".into(),
                url: self.calls.clone(),
                headers: Vec::new(),
                body: Vec::new(),
                timeout_ms: 0,
            };
            match http_client::send(&outgoing) {
                Ok(incoming) => incoming.status.to_string(),
                Err(failure) => format!("{failure:?}"),
            }
        })
    }

    fn fail(&self, exchange: u64) {
        assert!(!self.trap || exchange == 0, "told to");
    }
}

impl Request for Walk {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        self.fail(seen.exchange());
        let has =
            |name: &Option<String>| name.as_ref().is_some_and(|name| seen.header(name).is_some());
        assert!(!has(&self.trap_with), "told to");
        if has(&self.deny_with) {
            return request::Decision::answer(reply(403).text("no")).because("walk.deny");
        }
        if let Some(status) = self.answer {
            return request::Decision::answer(reply(status).text("no")).because("walk.answer");
        }
        if let Some(said) = self.called("request") {
            return request::Decision::change(vec![Edit::set("x-called", said)]);
        }
        let set = self.set.iter().map(|(name, value)| Edit::set(name, value.as_str()));
        let path = self.path.iter().map(|path| Edit::path(path));
        let add = (0..self.add).map(|n| Edit::add(format!("x-added-{n}"), "a"));
        let method = self.method.iter().map(Edit::method);
        request::Decision::change(set.chain(path).chain(add).chain(method).collect())
    }
}

impl Response for Walk {
    fn on_response(&mut self, seen: View<'_>) -> response::Decision {
        assert!(!self.response_trap || seen.exchange() == 0, "told to");
        if self.page_for == Some(seen.status()) {
            return response::Decision::answer(reply(seen.status()).text("a page"))
                .because("walk.page");
        }
        if let Some(said) = self.called("response") {
            return response::Decision::change(vec![Edit::set("x-called", said)]);
        }
        let set = self.response_set.iter().map(|(name, value)| Edit::set(name, value.as_str()));
        let add = (0..self.response_add).map(|n| Edit::add(format!("x-added-{n}"), "a"));
        let by = seen.attribute("@tamis.answered-by").map(|by| Edit::set("x-by", by));
        let status = self.response_status.map(Edit::status);
        response::Decision::change(set.chain(add).chain(by).chain(status).collect())
    }
}

impl RequestBody for Walk {
    fn on_request_body(
        &mut self,
        seen: View<'_>,
        octets: &[u8],
        last: bool,
    ) -> request_body::Decision {
        self.fail(seen.exchange());
        if let Some(said) = self.called("request-body") {
            return request_body::Decision::rewrite(
                octets.to_vec(),
                vec![Edit::set("x-called", said)],
            );
        }
        let has = |part: &String| octets.windows(part.len()).any(|some| some == part.as_bytes());
        assert!(!self.trap_on_chunk.as_ref().is_some_and(has), "told to");
        match self.body.as_str() {
            "capitals" if last && self.whole_up_to.is_none() => {
                request_body::Decision::replace("!")
            }
            "capitals" => request_body::Decision::replace(octets.to_ascii_uppercase()),
            "swallow" => request_body::Decision::replace(""),
            "hold" if !last => request_body::Decision::hold(),
            "hold" => request_body::Decision::replace([b"[", octets, b"]"].concat()),
            "hold-all" => request_body::Decision::hold(),
            "path" => {
                let path = String::from_utf8_lossy(octets).into_owned();
                request_body::Decision::change(vec![Edit::path(path)]).because("walk.moved")
            }
            "seen" => {
                let by = seen.path().unwrap_or_default().to_owned();
                request_body::Decision::replace(by)
            }
            "rewrite" => {
                let edits = vec![Edit::set("x-length", octets.len().to_string())];
                request_body::Decision::rewrite("other", edits)
            }
            "answer" => request_body::Decision::answer(reply(418).text("no")).because("walk.body"),
            "answer-bad" if octets == b"bad" => {
                request_body::Decision::answer(reply(418).text("no")).because("walk.body")
            }
            _ => request_body::Decision::pass(),
        }
    }
}

impl ResponseBody for Walk {
    fn on_response_body(
        &mut self,
        seen: View<'_>,
        octets: &[u8],
        last: bool,
    ) -> response_body::Decision {
        self.fail(seen.exchange());
        if let Some(said) = self.called("response-body") {
            return response_body::Decision::rewrite(
                octets.to_vec(),
                vec![Edit::set("x-called", said)],
            );
        }
        match self.body.as_str() {
            "capitals" if last && self.whole_up_to.is_none() => {
                response_body::Decision::replace("!")
            }
            "capitals" => response_body::Decision::replace(octets.to_ascii_uppercase()),
            "swallow" => response_body::Decision::replace(""),
            "hold" if !last => response_body::Decision::hold(),
            "hold" => response_body::Decision::replace([b"[", octets, b"]"].concat()),
            "hold-all" => response_body::Decision::hold(),
            "seen" => response_body::Decision::replace(seen.status().to_string()),
            "rewrite" => {
                let edits =
                    vec![Edit::set("x-length", octets.len().to_string()), Edit::status(418)];
                response_body::Decision::rewrite("other", edits)
            }
            "answer" => response_body::Decision::answer(reply(418).text("no")),
            _ => response_body::Decision::pass(),
        }
    }
}

impl Router for Walk {
    fn backends(&self) -> Vec<String> {
        vec!["test/app:80".into()]
    }

    fn rules(&self) -> Vec<String> {
        self.rules.iter().map(|(_, rule)| rule.clone()).collect()
    }

    fn on_route(&mut self, seen: View<'_>) -> router::Choice {
        let path = seen.path().unwrap_or_default();
        let matched = self.rules.iter().position(|(prefix, _)| path.starts_with(prefix.as_str()));
        let Some(rule) = matched else {
            let left = if self.extend { router::Choice::Extend } else { router::Choice::Unmatched };
            return left;
        };
        router::Choice::Forward(router::Selection {
            rule: rule as u32,
            backend: 0,
            request_timeout_ms: self.timeout_ms,
            attempt_timeout_ms: 0,
            hash: None,
            request_edits: self
                .called("router")
                .map(|said| Edit::set("x-called", said))
                .into_iter()
                .collect(),
            response_edits: Vec::new(),
            mirrors: Vec::new(),
        })
    }
}

impl Hedge for Walk {
    fn plan(&mut self, seen: hedge::Latencies) -> Option<u32> {
        self.hedge_us.map(|micros| micros * (seen.samples + 1))
    }
}

tamis_sdk::export!(Walk: request, response, request_body, response_body, router, hedge);
