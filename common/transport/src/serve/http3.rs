//! HTTP/3 on a client's connection (RFC 9114): `quinn` carries its streams, and what they say is read here. The connection's own
//! task accepts streams; each stream of a request has a task of its own, which runs the handler and then sends the response.
//!
//! Nothing is said about a stream whose request is malformed: it is reset before anybody sees it, as over HTTP/2.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

mod acknowledged;
mod body;
mod code;
mod control;
mod error;
mod frames;
mod head;
mod reader;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;
mod writer;

use std::error::Error;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::time::{Instant, Sleep, sleep};

pub(super) use self::body::StreamBody;
use self::code::Code;
use self::control::GoAways;
pub use self::error::Http3Error;
use self::state::ConnectionState;
use self::stream::StreamLimits;
use super::body::RequestBody;
use super::{ConnectionInfo, ListenerStage, ServeError, ServeLimits, Shutdown, reached};
use crate::quic::QuicConnection;
use crate::streams::ServedBody;

/// Between the two GOAWAYs of a connection, at least and at most: a round trip, for the requests in transit.
const GOAWAY_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// The id in a GOAWAY that says that one follows: the highest of a request (RFC 9114 §5.2).
const EVERY_REQUEST: u64 = (1 << 62) - 4;
/// Between the ids of two requests (RFC 9000 §2.1).
const ID_STEP: u64 = 4;

/// Serves a connection of HTTP/3 to its end, or until `shutdown` reaches [`ListenerStage::Leave`] and its exchanges are done: at
/// that stage it gets a GOAWAY, and no more requests after that. As [`serve_connection`](super::serve_connection) otherwise.
///
/// # Errors
/// [`ServeError`] when the connection did not end normally.
pub async fn serve_quic<H, B>(
    connection: QuicConnection,
    info: Rc<ConnectionInfo>,
    limits: &ServeLimits,
    handler: H,
    mut shutdown: Shutdown,
) -> Result<(), ServeError>
where
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
    B: ServedBody + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let state = ConnectionState::new(limits.max_idle_frames);
    let section = limits.max_header_list_bytes;
    let mut server = Server {
        goaways: control::open(connection.quic().clone(), section),
        streams: StreamLimits {
            section: section as usize,
            head_timeout: limits.intake.head_timeout,
        },
        idle_timeout: limits.intake.idle_timeout,
        connection,
        state,
        next_request: 0,
        stage: Stage::Serving,
    };
    let mut leave = pin!(reached(&mut shutdown, ListenerStage::Leave));
    let mut timer = pin!(sleep(server.idle_timeout));
    let handler = Rc::new(handler);
    loop {
        if let Some((code, rule)) = server.state.broken() {
            server.quic().close(code.number(), rule.as_bytes());
            let error = Http3Error::Broken { code: code as u32, rule };
            return Err(ServeError::Http3(error));
        }
        if server.is_done() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = server.state.changed() => server.reset_idle(timer.as_mut()),
            () = &mut leave, if server.stage == Stage::Serving => server.leave(timer.as_mut()),
            () = &mut timer, if server.is_timed() => server.step(timer.as_mut()),
            accepted = server.connection.quic().accept_bi() => match accepted {
                Ok(streams) => server.accept(streams, &handler, &info),
                Err(error) => return ended(error),
            },
            accepted = server.connection.quic().accept_uni() => match accepted {
                Ok(stream) => control::accept(stream, Rc::clone(&server.state)),
                Err(error) => return ended(error),
            },
        }
    }
}

/// The stage of a connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It serves.
    Serving,
    /// A GOAWAY said that another one follows; requests in transit are served.
    Leaving,
    /// A GOAWAY named the last request.
    Left,
}

struct Server {
    connection: QuicConnection,
    state: Rc<ConnectionState>,
    goaways: GoAways,
    streams: StreamLimits,
    idle_timeout: Duration,
    /// The lowest id that no request has had yet.
    next_request: u64,
    stage: Stage,
}

impl Server {
    fn quic(&self) -> &Connection {
        self.connection.quic()
    }

    /// Serves a stream, unless the last request was named before it.
    fn accept<H, B>(
        &mut self,
        (mut send, mut receive): (SendStream, RecvStream),
        handler: &Rc<H>,
        info: &Rc<ConnectionInfo>,
    ) where
        H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
        B: ServedBody + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if self.stage == Stage::Left {
            // It may be sent again elsewhere (RFC 9114 §5.2). Both fail only if the client gave it up.
            let code = Code::RequestRejected.number();
            let (_reset, _stopped) = (send.reset(code), receive.stop(code));
            return;
        }
        let id = quinn::VarInt::from(send.id()).into_inner();
        self.next_request = self.next_request.max(id.saturating_add(ID_STEP));
        let (state, served) = (Rc::clone(&self.state), (Rc::clone(handler), Rc::clone(info)));
        // The end of the connection ends its streams, so nobody waits for the handle.
        let streams = (self.quic().clone(), send, receive);
        drop(tokio::task::spawn_local(stream::serve(streams, state, self.streams, served)));
    }

    /// Says that requests should go elsewhere. The last one is named a round trip later, so that those in transit are answered.
    fn leave(&mut self, timer: Pin<&mut Sleep>) {
        self.stage = Stage::Leaving;
        self.goaways.send(EVERY_REQUEST);
        let (least, most) = GOAWAY_PAUSE;
        let pause = self.quic().rtt().saturating_mul(2).clamp(least, most);
        timer.reset(after(pause));
    }

    /// The time of the stage is over.
    fn step(&mut self, timer: Pin<&mut Sleep>) {
        match self.stage {
            Stage::Serving => self.leave(timer),
            Stage::Leaving => {
                self.stage = Stage::Left;
                self.goaways.send(self.next_request);
            }
            Stage::Left => {}
        }
    }

    /// Whether the timer runs: without requests, and between the two GOAWAYs.
    fn is_timed(&self) -> bool {
        match self.stage {
            Stage::Serving => self.state.open_streams() == 0,
            Stage::Leaving => true,
            Stage::Left => false,
        }
    }

    /// A stream has ended, perhaps the last one.
    fn reset_idle(&self, timer: Pin<&mut Sleep>) {
        if self.stage == Stage::Serving && self.state.open_streams() == 0 {
            timer.reset(after(self.idle_timeout));
        }
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Left && self.state.open_streams() == 0
    }
}

fn after(time: Duration) -> Instant {
    Instant::now().checked_add(time).unwrap_or_else(Instant::now)
}

/// How a connection ended that its client, or its silence, ended.
fn ended(error: ConnectionError) -> Result<(), ServeError> {
    let none = [Code::NoError.number(), quinn::VarInt::from_u32(0)];
    match error {
        ConnectionError::ApplicationClosed(close) if none.contains(&close.error_code) => Ok(()),
        ConnectionError::LocallyClosed => Ok(()),
        ConnectionError::TimedOut => Err(ServeError::Silent),
        error => Err(ServeError::Http3(Http3Error::Connection(error))),
    }
}
