//! Calls the hooks of an exchange, in the order of the proxy and with its rules.

use crate::event::{self, Author, ExchangeEnding, Request, Response};
use crate::seen::{StepEnd, StepObservation};
use crate::shown::{edited, replaced};
use crate::step::CaseStep;
use crate::text::{Body, Lines};
use std::collections::BTreeMap;
use tamis_engine::{BodyMode, Filter, Hook, Instance};
use tamis_exchange::{
    self as x, Attributes, Choice, Decision, Exchange, HeadSide, PathRules, Verdict, View,
    accept_head, accept_whole_body, apply, change_trailers, check, chunk_rule, normal_path,
};

/// The attribute that says who wrote a response, where a filter sees more than those of upstreams.
const ANSWERED_BY: &str = "tamis.answered-by";

/// One exchange of a filter.
pub(crate) struct ExchangeWalk<'a> {
    pub(crate) filter: &'a Filter,
    pub(crate) instance: &'a mut Instance,
    pub(crate) exchange: Exchange,
    pub(crate) seen: &'a mut StepObservation,
}

impl ExchangeWalk<'_> {
    /// From the request to the end. What an answer or a fault cuts off is not called, as in a proxy.
    pub(crate) async fn run(mut self, step: &CaseStep) -> Result<(), StepEnd> {
        if self.filter.keeps() {
            self.filter.state().begin(self.exchange.id, Some(1));
        }
        let went = self.hooks(step).await;
        let (status, reason) = (self.final_status(&went), self.seen.reason.clone());
        let faulted = matches!(went, Err(StepEnd::Fault(..) | StepEnd::Case(_)));
        let finished = match faulted || !self.filter.has(Hook::Finished) {
            true => Ok(()),
            false => self.finish(step.finished.as_ref(), status, reason),
        };
        if self.filter.keeps() {
            self.filter.state().end(self.exchange.id);
        }
        self.seen.exchange = Some(self.exchange);
        went.and(finished)
    }

    async fn hooks(&mut self, step: &CaseStep) -> Result<(), StepEnd> {
        let request = step.request.as_ref();
        self.seen.request_body = request.map_or_else(Vec::new, |it| octets(it.body.as_ref()));
        let mut view = View::default();
        if self.filter.has(Hook::Request) {
            view.fill_request(self.filter.reads(), &self.exchange);
            let decision = self.instance.on_request_async(&view).await;
            let decision = decision.map_err(StepEnd::failed(Hook::Request))?;
            self.take_head(decision, HeadSide::Request)?;
        }
        if self.filter.has(Hook::RequestBody) {
            let body = request.and_then(|request| request.body.as_ref());
            self.body(body, HeadSide::Request)?;
        }
        if let Some(request) = request {
            self.trailers(&request.trailers, HeadSide::Request)?;
        }
        if self.filter.has(Hook::Router) {
            self.route()?;
        }
        match &step.response {
            Some(response) => self.respond(response),
            None => Ok(()),
        }
    }

    fn route(&mut self) -> Result<(), StepEnd> {
        let mut view = View::default();
        view.fill_request(self.filter.reads(), &self.exchange);
        let choice = self.instance.on_route(&view).map_err(StepEnd::failed(Hook::Router))?;
        if let Choice::Forward(selection) = &choice {
            let writes = self.filter.writes();
            check(&selection.request_edits, writes, HeadSide::Request)
                .and_then(|()| check(&selection.response_edits, writes, HeadSide::Response))
                .and_then(|()| {
                    apply(&selection.request_edits, writes, &mut self.exchange, HeadSide::Request)
                })
                .map_err(StepEnd::breaks(Hook::Router))?;
        }
        if let Choice::Answer(reply) = choice {
            return Err(StepEnd::Answer(reply));
        }
        self.seen.choice = Some(choice);
        Ok(())
    }

    fn respond(&mut self, response: &Response) -> Result<(), StepEnd> {
        let status = response.status.unwrap_or(200);
        self.exchange.status = Some(http_status(status).map_err(StepEnd::Case)?);
        self.exchange.response_headers = headers(&response.headers).map_err(StepEnd::Case)?;
        self.seen.response_body = octets(response.body.as_ref());
        let author = response.by.unwrap_or(Author::Upstream);
        let upstream = author == Author::Upstream;
        if let (true, Some(Choice::Forward(selection))) = (upstream, &self.seen.choice) {
            let writes = self.filter.writes();
            apply(&selection.response_edits, writes, &mut self.exchange, HeadSide::Response)
                .map_err(StepEnd::breaks(Hook::Router))?;
        }
        let wanted = self.filter.responses();
        if wanted.has_local() {
            let by = match author {
                Author::Upstream => "upstream",
                Author::Filter => "filter",
                Author::Host => "host",
            };
            self.exchange.attributes.set(ANSWERED_BY, by);
        }
        let sees = if upstream { wanted.has_upstream() } else { wanted.has_local() };
        if self.filter.has(Hook::Response) && sees {
            let mut view = View::default();
            view.fill_response(self.filter.reads(), &self.exchange);
            let decision = self.instance.on_response(&view);
            let decision = decision.map_err(StepEnd::failed(Hook::Response))?;
            self.take_head(decision, HeadSide::Response)?;
        }
        let bodiless = self.exchange.method == http::Method::HEAD || !upstream;
        if self.filter.has(Hook::ResponseBody) && !bodiless {
            self.body(response.body.as_ref(), HeadSide::Response)?;
        }
        if !bodiless {
            self.trailers(&response.trailers, HeadSide::Response)?;
        }
        Ok(())
    }

    /// Takes the decision of a hook on heads.
    fn take_head(&mut self, decision: Decision, side: HeadSide) -> Result<(), StepEnd> {
        self.seen.reason = decision.reason.or(self.seen.reason.take());
        let hook = match side {
            HeadSide::Request => Hook::Request,
            HeadSide::Response => Hook::Response,
        };
        accept_head(&decision.verdict, self.filter.writes(), &mut self.exchange, side)
            .map_err(StepEnd::breaks(hook))?;
        match decision.verdict {
            Verdict::Change(edits) => self.seen.changes.extend(edited(&edits, side)),
            Verdict::Answer(reply) => return Err(StepEnd::Answer(reply)),
            Verdict::Pass | Verdict::Replace(_) | Verdict::Rewrite { .. } | Verdict::Hold => {}
        }
        Ok(())
    }

    /// Shows a body, unless it is empty: a proxy shows no body where there is none.
    fn body(&mut self, body: Option<&Body>, side: HeadSide) -> Result<(), StepEnd> {
        let chunks = body.map(Body::chunks).unwrap_or_default();
        let mode = match side {
            HeadSide::Request => self.filter.request_body(),
            HeadSide::Response => self.filter.response_body(),
        };
        if chunks.is_empty() {
            return Ok(());
        }
        let kept = match mode {
            BodyMode::None => return Ok(()),
            BodyMode::Buffered => self.whole(chunks.concat(), side)?,
            BodyMode::Chunks => self.chunks(chunks, side)?,
        };
        match side {
            HeadSide::Request => self.seen.request_body = kept,
            HeadSide::Response => self.seen.response_body = kept,
        }
        Ok(())
    }

    fn whole(&mut self, octets: Vec<u8>, side: HeadSide) -> Result<Vec<u8>, StepEnd> {
        let limit = self.filter.body_limit_bytes() as usize;
        if octets.len() > limit {
            let (status, code) = match side {
                HeadSide::Request => (413, "request.too-large"),
                HeadSide::Response => (502, "response.too-large"),
            };
            return Err(StepEnd::Case(format!(
                "a proxy refuses this body with {status} ({code}) before the filter sees it: a filter reads whole bodies, of at most {limit} bytes"
            )));
        }
        let view = self.view(side);
        let decision = self.show(&view, &octets, true, side)?;
        self.seen.reason = decision.reason.or(self.seen.reason.take());
        accept_whole_body(&decision.verdict, self.filter.writes(), &mut self.exchange, side)
            .map_err(StepEnd::breaks(body_hook(side)))?;
        match decision.verdict {
            Verdict::Pass | Verdict::Hold => Ok(octets),
            Verdict::Change(edits) => {
                self.seen.changes.extend(edited(&edits, side));
                Ok(octets)
            }
            Verdict::Replace(by) => {
                self.seen.changes.push(replaced(&by, side));
                Ok(by)
            }
            Verdict::Rewrite { octets: by, edits } => {
                self.seen.changes.extend(by.as_ref().map(|by| replaced(by, side)));
                self.seen.changes.extend(edited(&edits, side));
                Ok(by.unwrap_or(octets))
            }
            Verdict::Answer(reply) => Err(StepEnd::Answer(reply)),
        }
    }

    /// Each chunk, and then the end as an empty one.
    fn chunks(&mut self, chunks: Vec<Vec<u8>>, side: HeadSide) -> Result<Vec<u8>, StepEnd> {
        let limit = self.filter.body_limit_bytes() as usize;
        let view = self.view(side);
        let (mut kept, mut held) = (Vec::new(), Vec::new());
        let count = chunks.len();
        for (index, chunk) in chunks.into_iter().chain([Vec::new()]).enumerate() {
            let last = index == count;
            let octets = [std::mem::take(&mut held), chunk].concat();
            let decision = self.show(&view, &octets, last, side)?;
            self.seen.reason = decision.reason.or(self.seen.reason.take());
            if let Some(rule) = chunk_rule(&decision.verdict, octets.len(), limit, last) {
                return Err(StepEnd::breaks(body_hook(side))(rule));
            }
            match decision.verdict {
                Verdict::Pass | Verdict::Change(_) => kept.extend(octets),
                Verdict::Hold => held = octets,
                Verdict::Replace(by) => {
                    if by != octets {
                        self.seen.changes.push(replaced(&by, side));
                    }
                    kept.extend(by);
                }
                Verdict::Rewrite { octets: by, .. } => {
                    self.seen.changes.extend(by.as_ref().map(|by| replaced(by, side)));
                    kept.extend(by.unwrap_or(octets));
                }
                Verdict::Answer(reply) => return Err(StepEnd::Answer(reply)),
            }
        }
        Ok(kept)
    }

    /// Shows trailers, where there are any.
    fn trailers(&mut self, lines: &BTreeMap<String, Lines>, side: HeadSide) -> Result<(), StepEnd> {
        let mut trailers = headers(lines).map_err(StepEnd::Case)?;
        if self.filter.has(Hook::Trailers) && !trailers.is_empty() {
            let mut view = self.view(side);
            view.add_trailers(self.filter.reads(), &trailers, side);
            let decision = match side {
                HeadSide::Request => self.instance.on_request_trailers(&view),
                HeadSide::Response => self.instance.on_response_trailers(&view),
            };
            let decision = decision.map_err(StepEnd::failed(Hook::Trailers))?;
            self.seen.reason = decision.reason.or(self.seen.reason.take());
            if let Verdict::Change(edits) = decision.verdict {
                self.seen.changes.extend(edited(&edits, side));
                change_trailers(&edits, self.filter.writes(), side, &mut trailers)
                    .map_err(StepEnd::breaks(Hook::Trailers))?;
            }
        }
        match side {
            HeadSide::Request => self.seen.request_trailers = trailers,
            HeadSide::Response => self.seen.response_trailers = trailers,
        }
        Ok(())
    }

    fn view(&self, side: HeadSide) -> View {
        let mut view = View::default();
        match side {
            HeadSide::Request => view.fill_request(self.filter.reads(), &self.exchange),
            HeadSide::Response => view.fill_response(self.filter.reads(), &self.exchange),
        }
        view
    }

    fn show(
        &mut self,
        view: &View,
        octets: &[u8],
        last: bool,
        side: HeadSide,
    ) -> Result<Decision, StepEnd> {
        let decision = match side {
            HeadSide::Request => self.instance.on_request_body(view, octets, last),
            HeadSide::Response => self.instance.on_response_body(view, octets, last),
        };
        decision.map_err(StepEnd::failed(body_hook(side)))
    }

    fn final_status(&self, went: &Result<(), StepEnd>) -> u16 {
        match went {
            Err(StepEnd::Answer(reply)) => reply.status,
            _ => self.exchange.status.map_or(200, |status| status.as_u16()),
        }
    }

    fn finish(
        &mut self,
        wanted: Option<&ExchangeEnding>,
        status: u16,
        reason: Option<String>,
    ) -> Result<(), StepEnd> {
        let default = ExchangeEnding::default();
        let wanted = wanted.unwrap_or(&default);
        let micros = |time: Option<tamis_resources::Millis>| {
            time.map_or(1_000, |time| time.0.saturating_mul(1_000))
        };
        let long = |octets: &[u8]| u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let ending = x::ExchangeEnding {
            outcome: event::outcome(&wanted.outcome),
            status: wanted.status.unwrap_or(status),
            grpc_status: wanted.grpc_status,
            duration_us: micros(wanted.duration),
            upstream_us: micros(wanted.upstream),
            attempts: wanted.attempts.unwrap_or(1),
            bytes_in: wanted.bytes_in.unwrap_or_else(|| long(&self.seen.request_body)),
            bytes_out: wanted.bytes_out.unwrap_or_else(|| long(&self.seen.response_body)),
            reason,
        };
        let mut view = View::default();
        view.fill_request(self.filter.reads(), &self.exchange);
        view.status = ending.status;
        let shown = self.instance.on_finished(&view, &ending);
        shown.map_err(StepEnd::failed(Hook::Finished))
    }
}

/// The hook on the bodies of a side.
fn body_hook(side: HeadSide) -> Hook {
    match side {
        HeadSide::Request => Hook::RequestBody,
        HeadSide::Response => Hook::ResponseBody,
    }
}

/// The request of a step as an exchange.
pub(crate) fn exchange(message: &Request, id: u64) -> Result<Exchange, String> {
    let method = message.method.as_deref().unwrap_or("GET");
    let mut attributes = Attributes::default();
    for (name, value) in &message.attributes {
        attributes.set(bare(name).to_owned(), value.as_str());
    }
    Ok(Exchange {
        id,
        method: method.parse().map_err(|_| format!("`{method}` is not a method"))?,
        scheme: match message.scheme {
            Some(event::Scheme::Http) => x::Scheme::Http,
            None | Some(event::Scheme::Https) => x::Scheme::Https,
        },
        authority: message.authority.clone().unwrap_or_else(|| "test.example".to_owned()),
        path: path(message.path.as_deref().unwrap_or("/"))?,
        headers: headers(&message.headers)?,
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
        bounds: tamis_exchange::HeadBounds::default(),
        coding: None,
    })
}

/// The name of an attribute as the exchange stores it: filters declare it with an `@`.
pub(crate) fn bare(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}

/// As a gateway with the default settings shows it.
fn path(path: &str) -> Result<String, String> {
    let normal = normal_path(path, PathRules::default());
    normal.map(std::borrow::Cow::into_owned).map_err(|error| format!("`{path}`: {error}"))
}

fn http_status(status: u16) -> Result<http::StatusCode, String> {
    http::StatusCode::from_u16(status).map_err(|_| format!("{status} is not a status"))
}

fn octets(body: Option<&Body>) -> Vec<u8> {
    body.map(Body::chunks).unwrap_or_default().concat()
}

fn headers(lines: &BTreeMap<String, Lines>) -> Result<http::HeaderMap, String> {
    let mut map = http::HeaderMap::new();
    for (name, values) in lines {
        let name: http::HeaderName =
            name.parse().map_err(|_| format!("`{name}` is not a header name"))?;
        for value in values.values() {
            let value = http::HeaderValue::from_bytes(value.as_bytes());
            map.append(
                name.clone(),
                value.map_err(|_| format!("the value of {name} has a control character"))?,
            );
        }
    }
    Ok(map)
}
