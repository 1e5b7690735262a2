//! The first message of a handshake, read by who does not answer it: what it asks for, and the octets as they came.

use std::io;

use bytes::BytesMut;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::server::{NO_APPLICATION_PROTOCOL, UNRECOGNIZED_NAME, asked, refuse};
use super::{AskedHandshake, HANDSHAKE_TIMEOUT, TlsError};
use crate::prefixed_stream::PrefixedStream;

/// Longest first message, records and all, in octets. Those of clients have a few thousand at most.
const HELLO_MAX: usize = 32 * 1024;
/// Octets of one read.
const READ: usize = 4 * 1024;

/// Reads the first message of a handshake, in however many records and segments it comes, within 10 s and 32 KiB. The
/// stream that it returns begins with it.
///
/// # Errors
/// [`TlsError::Handshake`] when it is no such message or too long, of which the client is sent the alert that TLS has for it
/// (RFC 8446 §6), or [`TlsError::Timeout`]; the connection is unusable.
pub async fn read_hello<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
) -> Result<(AskedHandshake, PrefixedStream<IO>), TlsError> {
    let read = tokio::time::timeout(HANDSHAKE_TIMEOUT, read(io)).await;
    read.map_err(|_elapsed| TlsError::Timeout)?.map_err(TlsError::Handshake)
}

/// Ends a connection whose server name nobody takes, with the alert `unrecognized_name` (RFC 6066 §3).
pub async fn refuse_name<IO: AsyncWrite + Unpin>(mut io: IO) {
    refuse(&mut io, &UNRECOGNIZED_NAME).await;
}

/// Ends a connection that asks for a challenge of which nobody knows, with the alert `no_application_protocol` (RFC 7301 §3.2).
pub async fn refuse_challenge<IO: AsyncWrite + Unpin>(mut io: IO) {
    refuse(&mut io, &NO_APPLICATION_PROTOCOL).await;
}

async fn read<IO: AsyncRead + AsyncWrite + Unpin>(
    mut io: IO,
) -> io::Result<(AskedHandshake, PrefixedStream<IO>)> {
    let (mut acceptor, mut seen) = (Acceptor::default(), BytesMut::new());
    let mut octets = [0_u8; READ];
    loop {
        let count = io.read(&mut octets).await?;
        let Some(mut new) = octets.get(..count).filter(|new| !new.is_empty()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if seen.len().saturating_add(new.len()) > HELLO_MAX {
            let rule = format!("the first message has more than {HELLO_MAX} octets");
            return Err(io::Error::new(io::ErrorKind::InvalidData, rule));
        }
        seen.extend_from_slice(new);
        while !new.is_empty() {
            acceptor.read_tls(&mut new)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let asked = asked(&accepted.client_hello());
                    return Ok((asked, PrefixedStream::new(io, seen)));
                }
                Err((error, mut alert)) => {
                    let mut text = Vec::new();
                    alert.write_all(&mut text)?;
                    // The connection ends anyway, with the alert or without.
                    let _gone = io.write_all(&text).await;
                    let _gone = io.shutdown().await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// The first message of a real client for a name.
    fn hello(name: &str) -> Vec<u8> {
        let roots = rustls::RootCertStore::empty();
        let config = rustls::ClientConfig::builder_with_provider(super::super::verify::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut text = Vec::new();
        client.write_tls(&mut text).unwrap();
        text
    }

    /// The same message in records of `size` octets.
    fn fragmented(record: &[u8], size: usize) -> Vec<u8> {
        let (head, body) = record.split_at(5);
        let each = body.chunks(size).flat_map(|part| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&head[..3], &length, part].concat()
        });
        each.collect()
    }

    #[tokio::test]
    async fn a_message_is_read_in_any_records_and_stays_before_the_stream() {
        let whole = hello("shop.example");
        for size in [1, 7, 100, 1 << 14] {
            let text = fragmented(&whole, size);
            let (mut client, server) = duplex(1 << 16);
            client.write_all(&text).await.unwrap();
            client.write_all(b"more").await.unwrap();
            client.shutdown().await.unwrap();
            let (asked, mut stream) = read_hello(server).await.unwrap();
            assert_eq!(asked.server_name.as_deref(), Some("shop.example"), "{size}");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, [text, b"more".to_vec()].concat(), "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_first_message_ends_with_a_reason_and_none_waits_for_ever() {
        let hello = hello("shop.example");
        // A record that says that 65 KiB follow in its message.
        let long = [[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0].as_slice(), &[0; 0x4000 - 4]].concat();
        let endless = long.repeat(3);
        for (what, text, closes, reason) in [
            ("no TLS", b"GET / HTTP/1.1\r\n\r\n".to_vec(), false, "handshake"),
            ("half of it", hello[..40].to_vec(), true, "handshake"),
            ("half of it, and silence", hello[..40].to_vec(), false, "timeout"),
            ("nothing", Vec::new(), false, "timeout"),
            ("no end", endless, false, "handshake"),
        ] {
            let (mut client, server) = duplex(1 << 20);
            client.write_all(&text).await.unwrap();
            if closes {
                client.shutdown().await.unwrap();
            }
            let error = read_hello(server).await.map(|_| ()).unwrap_err();
            let named = match error {
                TlsError::Timeout => "timeout",
                TlsError::Handshake(_) => "handshake",
                other => panic!("{what}: {other}"),
            };
            assert_eq!(named, reason, "{what}");
        }
    }
}
