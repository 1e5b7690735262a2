//! Stands in for what a proxy gives a filter: answers to its requests, and a place for its records.

use crate::table::{HttpStub, StubFailure};
use crate::text::Body;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tamis_engine::{
    Exporter, FetchFailure, FetchFuture, FetchRequest, FetchResponse, FilterSpan, HttpFetch,
};

/// Answers from a table; keeps the requests.
pub(crate) struct StubFetch {
    stubs: Vec<HttpStub>,
    state: Mutex<StubState>,
}

#[derive(Default)]
struct StubState {
    /// How often each stub has answered.
    used: Vec<u32>,
    sent: Vec<FetchRequest>,
}

impl StubFetch {
    pub(crate) fn new(stubs: &[HttpStub]) -> Self {
        let state = StubState { used: vec![0; stubs.len()], sent: Vec::new() };
        Self { stubs: stubs.to_vec(), state: Mutex::new(state) }
    }

    /// The requests since the last call of this.
    pub(crate) fn take(&self) -> Vec<FetchRequest> {
        std::mem::take(&mut locked(&self.state).sent)
    }

    fn answer(&self, request: FetchRequest) -> Result<FetchResponse, FetchFailure> {
        let mut state = locked(&self.state);
        let fits = |stub: &HttpStub, used: u32| {
            stub.url == request.url
                && stub.method.as_ref().is_none_or(|method| *method == request.method)
                && stub.times.is_none_or(|times| used < times)
        };
        let found = self.stubs.iter().zip(&mut state.used).find(|(stub, used)| fits(stub, **used));
        let answer = match found {
            Some((stub, used)) => {
                *used = used.saturating_add(1);
                given(stub, request.max_bytes)
            }
            None => Err(FetchFailure::Connect(format!(
                "no answer of the case fits {} {}; add one to `given.http`",
                request.method, request.url
            ))),
        };
        state.sent.push(request);
        answer
    }
}

fn given(stub: &HttpStub, most: usize) -> Result<FetchResponse, FetchFailure> {
    match stub.failure {
        Some(StubFailure::Connect) => {
            return Err(FetchFailure::Connect("the case refuses it".to_owned()));
        }
        Some(StubFailure::Timeout) => return Err(FetchFailure::Timeout),
        Some(StubFailure::TooLarge) => return Err(FetchFailure::TooLarge),
        None => {}
    }
    let body = stub.body.as_ref().map(Body::chunks).unwrap_or_default().concat();
    if body.len() > most {
        return Err(FetchFailure::TooLarge);
    }
    let mut headers = Vec::new();
    for (name, lines) in &stub.headers {
        let lines = lines.values().into_iter();
        headers.extend(lines.map(|value| (name.clone(), value.as_bytes().to_vec())));
    }
    Ok(FetchResponse { status: stub.status.unwrap_or(200), headers, body })
}

impl HttpFetch for StubFetch {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let answer = self.answer(request);
        Box::pin(std::future::ready(answer))
    }
}

/// Keeps records and the names of spans.
#[derive(Default)]
pub(crate) struct StubExporter {
    exported: Mutex<(Vec<String>, Vec<String>)>,
}

impl StubExporter {
    /// The records, and the names of the spans, since the last call of this.
    pub(crate) fn take(&self) -> (Vec<String>, Vec<String>) {
        std::mem::take(&mut locked(&self.exported))
    }
}

impl Exporter for StubExporter {
    fn record(&self, _filter: &str, json: &str) {
        locked(&self.exported).0.push(json.to_owned());
    }

    fn span(&self, _filter: &str, span: &FilterSpan) {
        locked(&self.exported).1.push(span.name.clone());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both, shared with the filter.
pub(crate) struct Stubs {
    pub(crate) fetch: Arc<StubFetch>,
    pub(crate) exporter: Arc<StubExporter>,
}

impl Stubs {
    pub(crate) fn new(stubs: &[HttpStub]) -> Self {
        Self { fetch: Arc::new(StubFetch::new(stubs)), exporter: Arc::default() }
    }
}
