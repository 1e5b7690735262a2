//! Which listener of a port in clear text a request is for: the one that has its host.
//!
//! Over TLS the handshake chooses. Without it each request does, so a connection may have requests for several listeners.

use super::handle::Worker;
use super::state::WorkerState;
use crate::connection::Connection;
use crate::decode::named_host;
use http::Request;
use std::cell::RefCell;
use std::rc::Rc;
use tamis_transport::RequestBody;

/// A connection, at each listener for which it had a request.
pub(super) struct ConnectionHosts {
    first: Rc<Connection>,
    others: RefCell<Vec<Rc<Connection>>>,
}

impl ConnectionHosts {
    pub(super) fn new(first: Rc<Connection>) -> Self {
        Self { first, others: RefCell::default() }
    }

    /// The connection as the listener that serves the request's host sees it. A host that no listener has stays with the
    /// first, which refuses it, or has no route for it.
    pub(super) fn of(
        &self,
        worker: &Worker,
        state: &WorkerState,
        request: &Request<RequestBody>,
    ) -> Rc<Connection> {
        let first = || Rc::clone(&self.first);
        let Some((listener, _)) = state.listener(&self.first.listener) else { return first() };
        if !state.is_chosen_by_requests(listener) {
            return first();
        }
        let host = named_host(request);
        let name = state.beside(listener).find(|one| one.rules.is_for(host.as_deref()));
        match name.map(|one| one.name.as_str()) {
            Some(name) if *name != *self.first.listener => self.at(worker, name),
            _ => first(),
        }
    }

    fn at(&self, worker: &Worker, listener: &str) -> Rc<Connection> {
        let mut others = self.others.borrow_mut();
        if let Some(known) = others.iter().find(|one| *one.listener == *listener) {
            return Rc::clone(known);
        }
        let new = Rc::new(self.first.at(worker.id(), listener));
        others.push(Rc::clone(&new));
        new
    }
}
