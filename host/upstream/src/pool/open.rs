//! Opens connections: with the TLS of their protocol, and to the second address of an endpoint where the first refuses.

use super::Pool;
use crate::config::Protocol;
use crate::send::SendFailure;
use tamis_exchange::Cause;
use tamis_transport::{ClientTls, ConnectError, Stream, causes, connect};

impl Pool {
    /// Opens a connection for `protocol`.
    pub(crate) async fn open(&self, protocol: Protocol) -> Result<Stream, SendFailure> {
        let tls = match protocol {
            Protocol::Http1 => self.tls_http1.as_ref(),
            Protocol::Http2 => self.tls_http2.as_ref(),
            Protocol::Tcp(_) => return self.open_raw().await,
        };
        let stream = self.connect(tls).await?;
        if let (Protocol::Http1, Some(interval)) = (protocol, self.settings.borrow().keep_alive)
            && let Err(error) = stream.probe_every(interval)
        {
            tracing::debug!(address = %self.address, %error, "TCP keep-alive cannot be set on a connection");
        }
        if protocol == Protocol::Http2 && tls.is_some() && !stream.is_http2() {
            let detail = format!("{} agreed on another protocol than HTTP/2", self.address);
            return Err(SendFailure::untouched(Cause::ConnectFailure, detail));
        }
        Ok(stream)
    }

    /// Opens a connection for bytes that are not HTTP.
    pub(crate) async fn open_raw(&self) -> Result<Stream, SendFailure> {
        let stream = self.connect(self.tls_raw.as_ref()).await?;
        if let (Protocol::Tcp(port), Some(peer)) = (self.protocol, stream.identity())
            && !peer.is_tcp(port)
        {
            let detail = format!("{} did not agree on {port}", self.address);
            return Err(SendFailure::untouched(Cause::ConnectFailure, detail));
        }
        Ok(stream)
    }

    async fn connect(&self, tls: Option<&ClientTls>) -> Result<Stream, SendFailure> {
        let timeout = self.settings.borrow().connect_timeout;
        let mut connected = connect(&self.address, tls, timeout).await;
        if let (Err(ConnectError::Connect { .. }), Some(alternate)) = (&connected, &self.alternate)
            && let Ok(stream) = connect(alternate, tls, timeout).await
        {
            connected = Ok(stream);
        }
        connected.map_err(|error| SendFailure::untouched(Cause::ConnectFailure, causes(&error)))
    }
}
