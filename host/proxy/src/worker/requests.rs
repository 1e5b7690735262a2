//! The requests of one connection. Each is served by the chain that its listener has when it arrives: the worker may have
//! switched to another generation since the one before. In clear text its listener is the one that has its host.

use super::handle::Worker;
use super::host::ConnectionHosts;
use crate::arrival::Arrival;
use crate::body::HookedBody;
use crate::chain::Chain;
use crate::connection::Connection;
use crate::decode::named_host;
use crate::generation::{ListenerConfig, Reasons};
use crate::intake_refusal;
use crate::pipeline::serve;
use crate::refuse;
use crate::response_body::ResponseBody;
use http::{HeaderValue, Method, Request, Response, Version, header};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use tamis_exchange::{Body, Fault, Refusal};
use tamis_resources::plan::TrafficDirection;
use tamis_transport::{RefusedRequest, RequestBody, Shutdown};

/// What the requests of a connection have in common.
pub(super) struct ConnectionRequests {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    hosts: ConnectionHosts,
    shutdown: Shutdown,
}

impl ConnectionRequests {
    pub(super) fn new(worker: Rc<Worker>, connection: Rc<Connection>, shutdown: Shutdown) -> Self {
        let hosts = ConnectionHosts::new(Rc::clone(&connection));
        Self { worker, connection, hosts, shutdown }
    }

    /// Serves one.
    pub(super) async fn serve(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        if let Some(answer) = self.challenge(&request) {
            return answer;
        }
        let state = self.worker.state();
        let connection = self.hosts.of(&self.worker, &state, &request);
        let Some((listener, chain)) = state.listener(&connection.listener) else {
            let refusal =
                Refusal::new("listener.unknown", 503, Fault::Host, "the listener is gone");
            let response = refuse::response(&refusal, None, Reasons::Hide);
            return response.map(|body| HookedBody::from(body).into());
        };
        self.worker.shared.exchanges.fetch_add(1, Ordering::Relaxed);
        let is_alternative = request.version() == Version::HTTP_3;
        let mut response = serve(self.arrival(&connection, listener, chain), request).await;
        if !is_alternative && let Some(alternative) = self.worker.alternative(listener) {
            response.headers_mut().insert(header::ALT_SVC, alternative);
        }
        response
    }

    /// The answer to a request of an ACME server that a live order awaits, at a listener of a gateway in clear text. It is
    /// nobody's route, and no filter sees it.
    fn challenge(&self, request: &Request<RequestBody>) -> Option<Response<ResponseBody>> {
        let orders = &self.worker.shared.orders;
        if orders.is_quiet() || request.method() != Method::GET {
            return None;
        }
        let state = self.worker.state();
        let (listener, _) = state.listener(&self.connection.listener)?;
        if listener.direction != TrafficDirection::Gateway || listener.tls.is_some() {
            return None;
        }
        let named = named_host(request)?;
        let host = named.split_once(':').map_or(named.as_str(), |(host, _)| host);
        let answer = orders.answer(host, request.uri().path())?;
        tracing::info!(host, "an ACME server asked for the answer of a challenge");
        let mut response = Response::new(Body::full(answer));
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Some(response.map(|body| HookedBody::from(body).into()))
    }

    /// Records one that the intake refused; returns its id.
    pub(super) fn record(&self, refused: &RefusedRequest) -> Option<HeaderValue> {
        let state = self.worker.state();
        let (listener, chain) = state.listener(&self.connection.listener)?;
        intake_refusal::record(&self.arrival(&self.connection, listener, chain), refused)
    }

    /// The arrival of a new exchange.
    fn arrival<'a>(
        &'a self,
        connection: &'a Connection,
        listener: &'a ListenerConfig,
        chain: &'a Rc<Chain>,
    ) -> Arrival<'a> {
        let (worker, shutdown) = (&self.worker, &self.shutdown);
        let (direction, rules, id) = (listener.direction, &listener.rules, worker.id());
        let (shared, worker) = (&worker.shared, &worker.followed);
        Arrival { connection, chain, direction, rules, shared, id, shutdown, worker }
    }
}
