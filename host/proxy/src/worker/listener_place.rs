//! The places at which connections come in.

use crate::generation::SocketKey;

/// Where connections of a listener come in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ListenerPlace {
    pub(crate) key: SocketKey,
    pub(crate) listener: String,
    pub(crate) way: ListenerWay,
}

/// What carries connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ListenerWay {
    /// TCP, or a unix socket.
    Stream,
    /// QUIC, over UDP.
    Quic,
    /// UDP, unread.
    Datagrams,
}
