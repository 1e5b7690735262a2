//! The messages of Envoy's check over gRPC (`envoy.service.auth.v3`), with the fields that are used, by their numbers.

use prost::Message;
use std::collections::BTreeMap;

/// The question.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckRequest {
    /// Who asks for what.
    #[prost(message, optional, tag = "1")]
    pub(crate) attributes: Option<AttributeContext>,
}

/// Who asks for what.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttributeContext {
    /// The client.
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<Peer>,
    /// Where it connected to.
    #[prost(message, optional, tag = "2")]
    pub(crate) destination: Option<Peer>,
    /// What it asks for.
    #[prost(message, optional, tag = "4")]
    pub(crate) request: Option<AskedRequest>,
    /// What its handshake said.
    #[prost(message, optional, tag = "12")]
    pub(crate) tls_session: Option<TlsSession>,
}

/// One end of a connection.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Peer {
    /// Its address.
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<Address>,
    /// The name of the service.
    #[prost(string, tag = "2")]
    pub(crate) service: String,
    /// The identity of its certificate.
    #[prost(string, tag = "4")]
    pub(crate) principal: String,
}

/// `envoy.config.core.v3.Address`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Address {
    /// Of IP.
    #[prost(message, optional, tag = "1")]
    pub(crate) socket_address: Option<SocketAddress>,
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SocketAddress {
    /// The address.
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    /// 0: it is not known.
    #[prost(uint32, tag = "3")]
    pub(crate) port: u32,
}

/// `AttributeContext.TLSSession`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TlsSession {
    /// The name that the client asked for.
    #[prost(string, tag = "1")]
    pub(crate) sni: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AskedRequest {
    /// Its head.
    #[prost(message, optional, tag = "2")]
    pub(crate) http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpRequest {
    /// The number of the exchange.
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// As received.
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    /// Names in lower case.
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) headers: BTreeMap<String, String>,
    /// With the query.
    #[prost(string, tag = "4")]
    pub(crate) path: String,
    /// With the port, if it names one.
    #[prost(string, tag = "5")]
    pub(crate) host: String,
    /// `http` or `https`.
    #[prost(string, tag = "6")]
    pub(crate) scheme: String,
    /// Of the body; -1: unknown.
    #[prost(int64, tag = "9")]
    pub(crate) size: i64,
}

/// The answer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckResponse {
    /// Whether the request may pass.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<RpcStatus>,
    /// What the client is told.
    #[prost(message, optional, tag = "2")]
    pub(crate) denied: Option<DeniedResponse>,
    /// What the upstream is told.
    #[prost(message, optional, tag = "3")]
    pub(crate) ok: Option<OkResponse>,
    /// The check itself failed.
    #[prost(message, optional, tag = "5")]
    pub(crate) error: Option<DeniedResponse>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    /// 0: the request may pass.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}

/// `DeniedHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeniedResponse {
    /// Default: 403.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<HttpStatus>,
    /// Of the response.
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderOption>,
    /// Of the response.
    #[prost(string, tag = "3")]
    pub(crate) body: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpStatus {
    /// The status.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}

/// `OkHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OkResponse {
    /// For the upstream.
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderOption>,
    /// Headers of the request that are removed.
    #[prost(string, repeated, tag = "5")]
    pub(crate) headers_to_remove: Vec<String>,
    /// For the client.
    #[prost(message, repeated, tag = "6")]
    pub(crate) response_headers_to_add: Vec<HeaderOption>,
    /// `envoy.config.core.v3.QueryParameter`, of which only the number counts here.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub(crate) query_parameters_to_set: Vec<Vec<u8>>,
    /// Names.
    #[prost(string, repeated, tag = "8")]
    pub(crate) query_parameters_to_remove: Vec<String>,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeaderOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<HeaderText>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeaderText {
    /// The name.
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// The value, if it is text.
    #[prost(string, tag = "2")]
    pub(crate) value: String,
    /// The value, if it is not.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) raw_value: Vec<u8>,
}
