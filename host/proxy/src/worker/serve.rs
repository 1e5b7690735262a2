//! Serves one connection of a worker: its sender, the handshake, the connection hooks, then its requests.

use super::admit::{Admission, PlaintextRule, admit, admit_tcp, turns};
use super::handle::Worker;
use super::listener_place::ListenerWay;
use super::plaintext::PlaintextListener;
use super::requests::ConnectionRequests;
use super::sender::SenderRule;
use crate::chain::Chain;
use crate::connection::{CapturedConnection, Connection, ConnectionOpening};
use crate::generation::{ListenerConfig, Reasons, SocketKey};
use crate::tcp;
use crate::tunnel;
use http::Request;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_resources::plan::TrafficDirection;
use tamis_transport::{
    AskedHandshake, AskedProtocol, ConnectionInfo, IntakeReasons, ListenerStage, PlainStream,
    RefusedRequest, RequestBody, ServeError, ServerTls, Shutdown, TlsError, read_hello,
    refuse_challenge, refuse_name, serve_recording_refusals,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// The reason of a handshake that is none.
const PLAINTEXT: &str = "plaintext";
/// The rule for plain text inside the mesh, and the way out.
const LOOSEN: &str = "; the client speaks plain text, and this service takes mTLS alone: give the client a sidecar, or, while \
    callers move into the mesh, add `mtls: permissive` to the `spec` of the Service";

/// What a handshake is for.
enum Handshake {
    /// The listener of that name.
    Listener(String),
    /// An ACME server looks at the certificate of a challenge.
    Challenge,
}

/// Ends a connection whose handshake was all that an ACME server wanted.
async fn challenged(mut stream: impl AsyncWrite + Unpin, peer: Option<SocketAddr>) {
    tracing::info!(?peer, "an ACME server saw the certificate of a challenge");
    // It may be gone.
    let _gone = stream.shutdown().await;
}

impl Worker {
    /// Serves one connection to its end.
    pub(super) async fn serve_connection(
        self: Rc<Self>,
        key: &SocketKey,
        mut plain: PlainStream,
        peer: Option<SocketAddr>,
    ) {
        if self.shared.connections.load(Ordering::Relaxed) > self.shared.max_connections {
            tracing::debug!(address = %key.address(), "a connection over the limit is closed");
            return;
        }
        let state = self.state();
        // The listeners of a socket differ in nothing that counts before the handshake.
        let Some(listener) = state.listeners_of(key).next() else { return };
        let (name, address) = (listener.name.clone(), listener.address.clone());
        let (secure, captured) = (listener.tls.is_some(), listener.captured.is_some());
        let named = listener.is_by_server_name();
        let (plaintext, direction) = (state.plaintext(key), listener.direction);
        let rule = SenderRule::of(listener.rules.header_senders.as_ref(), peer);
        // A connection lives long: it must not keep its first generation alive.
        drop(state);
        let sender = match rule.sender(&mut plain, peer).await {
            Ok(sender) => sender,
            Err(refusal) => return self.failed(key, peer, refusal.reason(), &refusal.text()),
        };
        let info = ConnectionInfo { sender, local: address, identity: None };
        if captured {
            return Box::pin(self.serve_captured(key, plain, info)).await;
        }
        if named {
            return Box::pin(self.serve_named(key, plain, info)).await;
        }
        if !secure {
            let Some(shutdown) = self.shutdown_of(ListenerWay::Stream, key, &name) else { return };
            return self.serve_stream(&name, plain, info, Default::default(), shutdown).await;
        }
        if let Some(listener) = plaintext {
            match Box::pin(listener.takes(&plain)).await {
                Ok(false) => {}
                Ok(true) => {
                    return Box::pin(self.serve_plaintext(key, &listener, plain, info)).await;
                }
                Err(unclear) => return self.failed(key, peer, unclear.reason, &unclear.text),
            }
        }
        // Both boxed, so that a connection in clear text needs no room for them.
        match Box::pin(ServerTls::accept_chosen(plain, |asked| self.chosen(key, asked))).await {
            Ok((Handshake::Challenge, stream, _)) => challenged(stream, peer).await,
            Ok((Handshake::Listener(name), stream, identity)) => {
                let info = ConnectionInfo { identity: Some(identity), ..info };
                let Some(shutdown) = self.shutdown_of(ListenerWay::Stream, key, &name) else {
                    return;
                };
                // Each function it passes has a place for it, so it passes as a pointer.
                let stream = Box::new(stream);
                let opening = ConnectionOpening::default();
                Box::pin(self.serve_stream(&name, stream, info, opening, shutdown)).await;
            }
            Err(error) => {
                let mut text = tamis_transport::causes(&error);
                if error.reason() == PLAINTEXT && direction == TrafficDirection::Inbound {
                    text.push_str(LOOSEN);
                }
                self.failed(key, peer, error.reason(), &text);
            }
        }
    }

    /// Serves a connection in plain text of a caller without an identity, for as long as its listener takes such.
    async fn serve_plaintext(
        self: Rc<Self>,
        key: &SocketKey,
        listener: &PlaintextListener,
        plain: PlainStream,
        info: ConnectionInfo,
    ) {
        let (name, peer) = (listener.name.as_str(), info.sender);
        let Some(shutdown) = self.shutdown_of(ListenerWay::Stream, key, name) else { return };
        let _open = listener.open(&self.shared);
        let served = Rc::clone(&self).serve_stream(name, plain, info, Default::default(), shutdown);
        tokio::select! {
            () = served => {}
            () = self.is_strict(name) => {
                tracing::info!(listener = name, ?peer, "an open connection in plain text is closed: its service is strict now");
            }
        }
    }

    /// Serves a connection that the kernel led here, by the address that the application connected to.
    async fn serve_captured(
        self: Rc<Self>,
        key: &SocketKey,
        plain: PlainStream,
        info: ConnectionInfo,
    ) {
        let peer = info.sender;
        let Some(destination) = plain.original_destination() else {
            return self.failed(
                key,
                peer,
                "not-captured",
                "the peer connected to this port itself; only what `tamis capture` leads here is served",
            );
        };
        let state = self.state();
        let Some((listener, host)) = state.captured(key, destination) else { return };
        let (name, carried) = (listener.name.clone(), listener.tcp.is_some());
        let captured = CapturedConnection { destination, host: host.cloned(), peer };
        drop(state);
        let Some(shutdown) = self.shutdown_of(ListenerWay::Stream, key, &name) else { return };
        if !carried && !self.may_be_requests(key, &plain, peer, shutdown.clone()).await {
            return;
        }
        let opening = ConnectionOpening { captured: Some(captured), server_name: None };
        self.serve_stream(&name, plain, info, opening, shutdown).await;
    }

    /// Serves a connection whose server name chooses its listener and its route. Its TLS ends here where that listener has a
    /// certificate; otherwise all octets, those of the handshake included, are carried unchanged.
    async fn serve_named(
        self: Rc<Self>,
        key: &SocketKey,
        plain: PlainStream,
        info: ConnectionInfo,
    ) {
        let peer = info.sender;
        let fail = |error: &TlsError| {
            self.failed(key, peer, error.reason(), &tamis_transport::causes(error));
        };
        let (asked, stream) = match read_hello(plain).await {
            Ok(read) => read,
            Err(error) => return fail(&error),
        };
        if let Some(tls) = self.shared.orders.handshake(&asked) {
            return match tls.accept(stream).await {
                Ok((stream, _)) => challenged(stream, peer).await,
                Err(error) => fail(&error),
            };
        }
        let Some((name, tls)) = self.named(key, &asked) else {
            refuse_name(stream).await;
            return fail(&TlsError::UnknownName { asked: asked.server_name });
        };
        // A service whose TLS ends at itself may have ordered its own certificate.
        if tls.is_some() && asked.protocol == AskedProtocol::AcmeChallenge {
            refuse_challenge(stream).await;
            return fail(&TlsError::NoChallenge { asked: asked.server_name });
        }
        let Some(tls) = tls else {
            let Some(shutdown) = self.shutdown_of(ListenerWay::Stream, key, &name) else { return };
            let server_name = asked.server_name.map(Into::into);
            let opening = ConnectionOpening { captured: None, server_name };
            return self.serve_stream(&name, stream, info, opening, shutdown).await;
        };
        match tls.accept(stream).await {
            Ok((stream, identity)) => {
                let Some(shutdown) = self.shutdown_of(ListenerWay::Stream, key, &name) else {
                    return;
                };
                let info = ConnectionInfo { identity: Some(identity), ..info };
                let (stream, opening) = (Box::new(stream), ConnectionOpening::default());
                self.serve_stream(&name, stream, info, opening, shutdown).await;
            }
            Err(error) => fail(&error),
        }
    }

    /// The listener of a socket with a route for what a handshake asks for, and its TLS if that ends there.
    fn named(
        &self,
        key: &SocketKey,
        asked: &AskedHandshake,
    ) -> Option<(String, Option<Arc<ServerTls>>)> {
        let state = self.state();
        let listener = state.listeners_of(key).find(|one| one.has(asked))?;
        Some((listener.name.clone(), listener.tls.clone()))
    }

    /// Whether a captured connection may be one of requests. One that begins with TLS is not: nobody here could read it.
    /// A client that waits before it sends is waited for as long as between two requests.
    async fn may_be_requests(
        &self,
        key: &SocketKey,
        plain: &PlainStream,
        peer: Option<SocketAddr>,
        mut shutdown: Shutdown,
    ) -> bool {
        let first =
            tokio::time::timeout(self.shared.limits.intake.idle_timeout, plain.begins_with_tls());
        let first = tokio::select! {
            first = first => first,
            _ = shutdown.wait_for(|stage| *stage == ListenerStage::End) => return false,
        };
        match first {
            Ok(Ok(false)) => true,
            Ok(Ok(true)) => {
                let error = "the application speaks TLS to a port that is not `tcp`: let it speak http, which the sidecars encrypt, or declare the port `protocol: tcp`";
                self.failed(key, peer, "tls-to-http", error);
                false
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// The listener of a socket that has what a handshake asks for, and its TLS.
    fn chosen(
        &self,
        key: &SocketKey,
        asked: &AskedHandshake,
    ) -> Option<(Handshake, Arc<ServerTls>)> {
        if let Some(tls) = self.shared.orders.handshake(asked) {
            return Some((Handshake::Challenge, tls));
        }
        let state = self.state();
        let listener = state.listeners_of(key).find(|one| one.has(asked))?;
        let name = Handshake::Listener(listener.name.clone());
        Some((name, Arc::clone(listener.tls.as_ref()?)))
    }

    /// Counts and logs a connection that ended before its first request.
    pub(super) fn failed(
        &self,
        key: &SocketKey,
        peer: Option<SocketAddr>,
        reason: &'static str,
        error: &str,
    ) {
        let state = self.state();
        let names: Vec<&str> = state.listeners_of(key).map(|one| one.name.as_str()).collect();
        let names = names.join(", ");
        self.shared.handshakes_failed.note(&names, peer, (reason, error), self.shared.clock);
    }

    async fn serve_stream<IO>(
        self: Rc<Self>,
        name: &str,
        io: IO,
        info: ConnectionInfo,
        opening: ConnectionOpening,
        shutdown: Shutdown,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let federated = self.federated_peer(name, &info);
        let connection = Connection::new(self.id(), name, &info).opened(opening).of(federated);
        self.admission_turns(name).await;
        let judged = match self.admission(name, &connection, &info) {
            Admission::Serve(judged) => self.judged(judged, &connection),
            Admission::Close => return,
            Admission::Tunnel(forward) => {
                let (shared, mut shutdown) = (Arc::clone(&self.shared), shutdown);
                let (judged, state) = (Rc::clone(&forward.chain), self.followed.subscribe());
                let refused = self.refused_later(judged, &connection, &info, state);
                let forward = tunnel::forward(io, *forward, (&shared, refused), &mut shutdown);
                return Box::pin(forward).await;
            }
            Admission::Tcp(opening) => {
                let is_served = || self.state().listener(name).is_some();
                let (judged, state) = (Rc::clone(&opening.chain), self.followed.subscribe());
                let ends = tcp::ConnectionEnds {
                    shutdown,
                    is_served,
                    refused: self.refused_later(judged, &connection, &info, state),
                };
                let served = tcp::serve(io, *opening, &connection, &self.shared, ends);
                return Box::pin(served).await;
            }
        };
        let connection = Rc::new(connection);
        let mut limits = self.shared.limits.clone();
        limits.many_clients = self.is_named_proxy(name, &info);
        if !self.shows_reasons(name) {
            limits.intake.reasons = IntakeReasons::Hide;
        }
        let worker = Rc::clone(&self);
        let requests = ConnectionRequests::new(worker, Rc::clone(&connection), shutdown.clone());
        let requests = Rc::new(requests);
        let of_intake = Rc::clone(&requests);
        let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
            requests.serve(request).await
        };
        let refused = move |refused: RefusedRequest| of_intake.record(&refused);
        let info = Rc::new(info);
        let served = match judged {
            None => serve_recording_refusals(io, info, &limits, handler, refused, shutdown).await,
            // Boxed, so that connections that no hook admitted need no room for it.
            Some(judged) => {
                let again = (judged, Rc::clone(&connection), Rc::clone(&info));
                let served =
                    serve_recording_refusals(io, info, &limits, handler, refused, shutdown);
                Box::pin(self.unless_refused(again, served)).await
            }
        };
        if let Err(error) = served {
            let error = tamis_transport::causes(&error);
            tracing::debug!(listener = name, error, "a connection ended badly");
        }
    }

    /// Serves a connection that hooks admitted, until those of a later generation refuse it.
    pub(super) async fn unless_refused(
        &self,
        (judged, connection, info): (Rc<Chain>, Rc<Connection>, Rc<ConnectionInfo>),
        served: impl Future<Output = Result<(), ServeError>>,
    ) -> Result<(), ServeError> {
        let state = self.followed.subscribe();
        tokio::select! {
            served = served => served,
            refusal = self.refused_later(judged, &connection, &info, state) => {
                let (listener, code) = (&connection.listener, refusal.code);
                tracing::info!(%listener, %code, "an open connection is closed: since a change it is refused");
                Ok(())
            }
        }
    }

    /// Waits for the turns of the connection hooks that take long.
    pub(super) async fn admission_turns(&self, name: &str) {
        let state = self.state();
        let Some((listener, chain)) = state.listener(name) else { return };
        if !state.is_chosen_by_requests(listener) {
            return turns(chain).await;
        }
        for one in state.beside(listener) {
            if let Some((_, chain)) = state.listener(&one.name) {
                turns(chain).await;
            }
        }
    }

    /// Calls the connection hooks; without any, no view is built.
    pub(super) fn admission(
        &self,
        name: &str,
        connection: &Connection,
        info: &ConnectionInfo,
    ) -> Admission {
        let state = self.state();
        let Some((listener, chain)) = state.listener(name) else { return Admission::Close };
        if let Some(rules) = &listener.tcp {
            let plaintext = match listener.plaintext {
                Some(_) => PlaintextRule::Taken,
                None => PlaintextRule::Refused,
            };
            let by = (info, self.shared.random);
            return admit_tcp(chain, (rules, plaintext), self.id(), connection, by);
        }
        let one = |listener: &ListenerConfig| {
            let (_, chain) = state.listener(&listener.name)?;
            let asked = !chain.connection.is_empty();
            asked.then(|| admit(chain, &listener.name, self.id(), connection, info))
        };
        if !state.is_chosen_by_requests(listener) {
            return one(listener).unwrap_or(Admission::Serve(None));
        }
        // The host is not known yet, so the hooks of all listeners that a request may be for are asked. A listener whose hooks
        // send connections to a service unread would get those for other hosts too.
        let mut judged = None;
        for asked in state.beside(listener).filter_map(one) {
            match asked {
                Admission::Serve(by) => judged = judged.or(by),
                Admission::Close | Admission::Tunnel(_) | Admission::Tcp(_) => {
                    return Admission::Close;
                }
            }
        }
        Admission::Serve(judged)
    }

    /// Whether a connection comes from a proxy whose address that listener names: many clients share it.
    fn is_named_proxy(&self, name: &str, info: &ConnectionInfo) -> bool {
        let state = self.state();
        let proxies = state.listener(name).and_then(|(it, _)| it.rules.trusted_proxies.as_ref());
        proxies.zip(info.sender).is_some_and(|(proxies, sender)| proxies.names(sender.ip()))
    }

    /// Whether clients of that listener see why they were refused.
    fn shows_reasons(&self, name: &str) -> bool {
        let state = self.state();
        let Some((listener, _)) = state.listener(name) else { return false };
        if !state.is_chosen_by_requests(listener) {
            return listener.rules.reasons == Reasons::Show;
        }
        // What the intake refuses may be for any of them.
        state.beside(listener).all(|one| one.rules.reasons == Reasons::Show)
    }
}
