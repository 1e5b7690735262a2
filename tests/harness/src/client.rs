//! One request over a connection of its own, on plain sockets: nothing between the test and the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status; 0 if there was no response.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body as sent, still chunked if it was.
    pub body: String,
}

impl Reply {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// `GET` of a path.
pub fn get(address: &str, path: &str) -> Reply {
    request(address, "GET", path, &[], b"")
}

/// Any request; gives status 0 if no connection can be opened.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut octets = head(address, method, path, headers, body.len());
    octets.extend_from_slice(body);
    parse(&exchange(address, &octets))
}

/// Any request to a server that states the length of its response and keeps the connection open.
pub(crate) fn request_of_known_length(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut octets = head(address, method, path, headers, body.len());
    octets.extend_from_slice(body);
    let mut reply = Vec::new();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&octets).unwrap();
    let mut some = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut some) {
        reply.extend_from_slice(&some[..length]);
        let Some(end) = reply.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let stated = parse(&reply).header("content-length").and_then(|it| it.parse().ok());
        if stated.is_some_and(|stated: usize| reply.len() >= end + 4 + stated) {
            break;
        }
    }
    parse(&reply)
}

/// A request whose body is sent once `between` is done, which begins when the server asks for the body (RFC 9110 §10.1.1): by
/// then it has decided from the head that it wants it.
pub fn held_back(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    between: impl FnOnce(),
) -> Reply {
    let expects = [headers, &[("expect", "100-continue")]].concat();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&head(address, method, path, &expects, body.len())).unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        reply.extend(octet);
    }
    if reply.starts_with(b"HTTP/1.1 100 ") {
        between();
        stream.write_all(body).unwrap();
        reply.clear();
    }
    let _ = stream.read_to_end(&mut reply);
    parse(&reply)
}

fn head(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    length: usize,
) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        // Admin listeners and registries answer only to their own name.
        text.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if length > 0 {
        text.push_str(&format!("content-length: {length}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Sends these bytes and reads until the other side closes.
pub fn exchange(address: &str, octets: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return reply };
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    if stream.write_all(octets).is_ok() {
        // What arrived before a reset counts.
        let _ = stream.read_to_end(&mut reply);
    }
    reply
}

fn parse(octets: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(octets).into_owned();
    let mut text = text.as_str();
    // Interim responses come before the one that counts.
    while let Some((head, rest)) = text.split_once("\r\n\r\n")
        && head.starts_with("HTTP/1.1 1")
        && !head.starts_with("HTTP/1.1 101")
        && !rest.is_empty()
    {
        text = rest;
    }
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Reply { status, headers: headers.collect(), body: body.to_owned() }
}
