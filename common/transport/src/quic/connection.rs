//! An accepted connection, with its place among those of its address.

use quinn::{Connection, VarInt};

use super::admission::AddressPlace;

/// `H3_NO_ERROR` (RFC 9114 §8.1).
const NO_ERROR: u32 = 0x100;

/// An accepted connection. Dropped, it is closed, and with it all of its streams.
#[derive(Debug)]
pub struct QuicConnection {
    connection: Connection,
    _place: AddressPlace,
}

impl QuicConnection {
    pub(super) fn new(connection: Connection, place: AddressPlace) -> Self {
        Self { connection, _place: place }
    }

    /// The connection itself.
    pub(crate) fn quic(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for QuicConnection {
    fn drop(&mut self) {
        // Without an effect on one that was closed before.
        self.connection.close(VarInt::from_u32(NO_ERROR), b"");
    }
}
