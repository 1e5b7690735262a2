//! `tamis-floor LISTEN BACKEND`: the floor under every proxy in Rust that the bench measures.
//!
//! It reads each head once, writes it on with one field added, and forwards a body of a stated length. One task serves a
//! connection and its connection to the upstream; there is no channel, no map of fields, no policy, no limit and no timer.
//! It is no proxy to use: it checks nothing that it does not need to find the end of a message.

use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Most fields in a head.
const FIELDS_MAX: usize = 64;
/// Bytes of a read.
const READ_BYTES: usize = 64 * 1024;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(backend)) = (arguments.next(), arguments.next()) else {
        bail!("usage: tamis-floor LISTEN BACKEND");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(&listen, backend.into()))
}

async fn serve(listen: &str, backend: Rc<str>) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let backend = Rc::clone(&backend);
        drop(tokio::task::spawn_local(async move {
            // A connection that breaks takes only itself along.
            drop(connection(client, &backend).await);
        }));
    }
}

/// Serves a client until it leaves, over one connection to the upstream.
async fn connection(client: TcpStream, backend: &str) -> Result<()> {
    let upstream = TcpStream::connect(backend).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (mut client, mut upstream) = (Side::new(client), Side::new(upstream));
    while forward(&mut client, &mut upstream, Kind::Request).await? {
        ensure!(forward(&mut upstream, &mut client, Kind::Response).await?, "no response");
    }
    Ok(())
}

/// What a head begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
}

/// A socket, and what was read from it and not written on.
struct Side {
    stream: TcpStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// What is written next.
    out: Vec<u8>,
}

impl Side {
    fn new(stream: TcpStream) -> Self {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Self { stream, buffer, start: 0, end: 0, out: Vec::with_capacity(READ_BYTES) }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads once; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        ensure!(!room.is_empty(), "the head is too long");
        let read = self.stream.read(room).await?;
        self.end += read;
        Ok(read > 0)
    }
}

/// Forwards one message; false when there is none.
async fn forward(from: &mut Side, to: &mut Side, kind: Kind) -> Result<bool> {
    let (head, mut length) = loop {
        to.out.clear();
        if let Some(found) = head(from.unread(), kind, &mut to.out)? {
            break found;
        }
        if !from.fill().await? {
            return Ok(false);
        }
    };
    from.start += head;
    loop {
        let piece = from.unread().get(..length).unwrap_or_else(|| from.unread());
        to.out.extend_from_slice(piece);
        let taken = piece.len();
        from.start += taken;
        length -= taken;
        to.stream.write_all(&to.out).await?;
        if length == 0 {
            return Ok(true);
        }
        to.out.clear();
        ensure!(from.fill().await?, "the body ended early");
    }
}

/// Writes the head at the beginning of `octets` into `out`, without the fields of one connection and with one more, and
/// returns its length and that of its body; `None` when more octets are needed.
fn head(octets: &[u8], kind: Kind, out: &mut Vec<u8>) -> Result<Option<(usize, usize)>> {
    if octets.is_empty() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let (end, fields) = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut fields);
            let httparse::Status::Complete(end) = request.parse(octets)? else { return Ok(None) };
            let line = (request.method, request.path);
            let (Some(method), Some(path)) = line else { bail!("no request line") };
            for part in [method, " ", path, " HTTP/1.1\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
            (end, request.headers)
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut fields);
            let httparse::Status::Complete(end) = response.parse(octets)? else { return Ok(None) };
            let status = response.code.context("no status")?;
            out.extend_from_slice(format!("HTTP/1.1 {status} OK\r\n").as_bytes());
            (end, response.headers)
        }
    };
    let mut length = 0;
    for field in fields {
        if field.name.eq_ignore_ascii_case("connection") {
            continue;
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(field.value)?.parse()?;
        }
        out.extend_from_slice(field.name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"via: 1.1 floor\r\n\r\n");
    Ok(Some((end, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_on_with_one_field_more() {
        let mut out = Vec::new();
        let request =
            b"POST /a HTTP/1.1\r\nHost: b\r\nConnection: x\r\nContent-Length: 2\r\n\r\nok";
        let found = head(request, Kind::Request, &mut out).unwrap();
        assert_eq!(found, Some((request.len() - 2, 2)));
        assert_eq!(
            out,
            b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\nvia: 1.1 floor\r\n\r\n"
        );
        out.clear();
        assert_eq!(head(b"HTTP/1.1 200 OK\r\n", Kind::Response, &mut out).unwrap(), None);
        assert!(head(b"\0", Kind::Request, &mut out).is_err());
    }

    #[tokio::test]
    async fn messages_pass_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = listener.local_addr().unwrap().to_string();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                let mut seen = Vec::new();
                while !seen.ends_with(b"ok") {
                    stream.read_buf(&mut seen).await.unwrap();
                }
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
                stream.write_all(reply).await.unwrap();
            }
        };
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for _ in 0..2 {
                stream.write_all(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n").await.unwrap();
                stream.write_all(b"ok").await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"yes") {
                    stream.read_buf(&mut seen).await.unwrap();
                }
            }
        };
        let proxy = async {
            let (stream, _) = front.accept().await.unwrap();
            connection(stream, &backend).await.unwrap();
        };
        tokio::join!(server, client, proxy);
    }
}
