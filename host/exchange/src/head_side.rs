//! The two heads of an exchange.

/// The head, or the message, that something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadSide {
    /// Towards the upstream.
    Request,
    /// Towards the client.
    Response,
}
