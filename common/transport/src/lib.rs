//! From socket to connection: listen, accept, TLS handshake, the HTTP/1 intake. The only crate that uses
//! rustls.
//!
//! The crate turns bytes of untrusted peers into requests that have exactly one reading, and connects to
//! upstreams. It knows nothing about routes, filters or generations.
//!
//! The way of a connection: [`listen::bind`] → [`listen::SocketListener::accept`] →
//! [`proxy_protocol::read_proxy_header`] (when a load balancer writes one) → [`tls::ServerTls::accept`] (when the listener has certificates) → [`serve::serve_connection`], which reads and writes HTTP/1 itself by the
//! rules of the [`intake`], and the frames of HTTP/2 with the `h2` crate. The way out is [`connect::connect`]: over HTTP/1 with a
//! [`ClientConnection`], which writes a request and judges and reads its response in one pass; the
//! [`response::ResponseIntake`] judges the responses that hyper reads.
//!
//! ```
//! use tamis_transport::address::Address;
//! let address: Address = "127.0.0.1:8080".parse()?;
//! assert_eq!(address.to_string(), "127.0.0.1:8080");
//! # Ok::<(), tamis_transport::address::AddressError>(())
//! ```

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts its clock somewhere, and waits in real time"
    )
)]
// Octets of strangers are read here: no sum wraps and no cast loses a part, unnoticed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod address;
mod budget;
mod captured;
mod carry;
mod causes;
pub mod client;
pub mod connect;
mod first_read;
pub mod frames;
pub mod handover;
pub mod hosts;
pub mod intake;
pub mod listen;
mod message;
mod prefixed_stream;
pub mod proxy_protocol;
mod qpack;
pub mod quic;
pub mod response;
pub mod serve;
mod streams;
mod tcp_answer;
pub mod tls;
pub(crate) mod turn;
mod udp;

pub use address::{Address, AddressError};
pub use captured::StreamBeginning;
pub use carry::{CarriedOctets, CarryEnd, carry};
pub use causes::causes;
pub use client::{ClientConnection, Http1ClientError, OutgoingRequest, RequestLine, ResponseHead};
pub use connect::{ConnectError, PlainStream, Stream, connect};
pub use frames::{IDLE_FRAMES_MAX, MeteredStream};
pub use intake::{ConnectMethod, IntakeLimits, IntakeReasons, IntakeRefusal, RefusedRequest};
pub use listen::{
    BoundListener, ListenError, SocketListener, bind, bind_private, is_own_user, spread,
};
pub use message::spare::give_back;
pub use prefixed_stream::PrefixedStream;
pub use proxy_protocol::{ProxyHeaderError, ProxyHeaderVersion, proxy_header, read_proxy_header};
pub use quic::{ChooseListener, QuicConnection, QuicEndpoint, QuicHandshake, QuicListener};
pub use response::{Expectation, ResponseControl, ResponseIntake, ResponseLimits, ResponseRefusal};
pub use serve::{
    ConnectProtocol, ConnectionInfo, Http3Error, InterimSender, ListenerStage, PendingTunnel,
    RequestBody, RequestBodyError, ServeError, ServeLimits, ServerTunnel, Shutdown, TunnelError,
    serve_connection, serve_quic, serve_recording_refusals,
};
pub use streams::{
    KeepAlive, PingTimes, ReceivedContent, SendContentError, ServedBody, UploadPace, send_content,
};
pub use tcp_answer::{AnsweredStream, PeerAnswer, ReceivedAnswer, TcpAnswer};
pub use tls::spiffe::{SpiffeId, TrustDomain};
pub use tls::{
    AskedHandshake, AskedProtocol, CertificateFacts, CertificateNeeds, CertificateOrders,
    ClientCertificates, ClientTls, FederatedPeer, LiveChallenge, MeshIdentity, OrderState,
    OwnCertificate, PeerCertificate, PeerIdentity, PeerRefusal, ServerAltName, ServerTls,
    SuppliedSvid, SvidRenewals, TcpPort, TlsError, TrustBundles, read_hello, refuse_challenge,
    refuse_name,
};
pub use turn::yield_turn;
pub use udp::{BoundUdp, UdpPeer, UdpPort, bind_udp};
