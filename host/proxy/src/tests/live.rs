//! A running proxy, an upstream that echoes what it receives, and a client.

use super::*;
use crate::generation::{ListenerConfig, ListenerRules};
use crate::{Proxy, ProxyOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use tamis_exchange::Protocols;
use tamis_resources::plan::TrafficDirection;
use tamis_transport::Address;
use tamis_upstream::{EndpointConfig, EndpointTarget, Protocol, ServiceConfig, ServiceSettings};

/// Answers every request with its head, and with the status that `x-status` asks for; those with `x-hang`
/// never.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while let Some((head, length)) = head(&mut stream) {
                    let chunked = field(&head, "transfer-encoding").is_some();
                    if discard(&mut stream, length, chunked).is_none() {
                        return;
                    }
                    if field(&head, "x-hang").is_some() {
                        continue;
                    }
                    let status = field(&head, "x-status").unwrap_or("200").to_owned();
                    let length = head.len();
                    let bare = field(&head, "x-bare").is_some();
                    let (head, length) = if bare { ("", 0) } else { (&*head, length) };
                    let answer =
                        format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{head}");
                    if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Reads a body to its end: of that length, or in chunks (RFC 9112 §7.1).
fn discard(stream: &mut BufReader<TcpStream>, length: usize, chunked: bool) -> Option<()> {
    if !chunked {
        return stream.read_exact(&mut vec![0; length]).ok();
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
        stream.read_exact(&mut vec![0; length + 2]).ok()?;
        if length == 0 {
            return Some(());
        }
    }
}

/// A head as text and the length of the body that follows; `None` when the other side is gone.
fn head(stream: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if stream.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    let length = field(&text, "content-length").and_then(|length| length.parse().ok());
    Some((text, length.unwrap_or(0)))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
}

/// A proxy and its address.
pub(super) struct LiveProxy {
    pub(super) proxy: Proxy,
    address: SocketAddr,
    services: Vec<ServiceConfig>,
    numbers: u64,
}

impl LiveProxy {
    /// Two workers that serve `filters`, the last of which routes.
    pub(super) fn start(filters: Vec<Attachment>, options: ProxyOptions) -> Self {
        let workers = NonZeroUsize::new(2);
        Self::before(upstream(), filters, ProxyOptions { workers, ..options })
    }

    /// A proxy that sends everything to `upstream`.
    pub(super) fn before(
        upstream: SocketAddr,
        filters: Vec<Attachment>,
        options: ProxyOptions,
    ) -> Self {
        Self::with_settings(upstream, filters, options, ServiceSettings::default())
    }

    /// A proxy that sends everything to `upstream`, within these settings.
    pub(super) fn with_settings(
        upstream: SocketAddr,
        filters: Vec<Attachment>,
        options: ProxyOptions,
        settings: ServiceSettings,
    ) -> Self {
        let endpoint = EndpointConfig {
            target: EndpointTarget::Address(Address::Tcp(upstream)),
            weight: 1,
            tls: None,
            tls_key: String::new(),
        };
        let service = ServiceConfig {
            name: "test/app:80".into(),
            protocol: Protocol::Http1,
            endpoints: vec![endpoint],
            settings,
        };
        let services = vec![service];
        let first = generation(1, filters, &services);
        let proxy = Proxy::start(options, first).unwrap();
        let Some(Address::Tcp(address)) = proxy.address("in") else { panic!("it listens nowhere") };
        Self { proxy, address, services, numbers: 1 }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves these from now on.
    pub(super) fn swap(&mut self, filters: Vec<Attachment>) {
        self.numbers += 1;
        self.proxy.swap(generation(self.numbers, filters, &self.services)).unwrap();
    }

    pub(super) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    pub(super) fn client(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).unwrap()))
    }

    /// Waits until the numbers, which are updated after the client has its response, are as expected.
    #[track_caller]
    pub(super) fn until<T: std::fmt::Debug>(
        &self,
        mut look: impl FnMut(&Proxy) -> T,
        right: impl Fn(&T) -> bool,
    ) -> T {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let seen = look(&self.proxy);
            if right(&seen) {
                return seen;
            }
            assert!(Instant::now() < until, "still {seen:?}");
            std::thread::yield_now();
        }
    }
}

fn generation(number: u64, filters: Vec<Attachment>, services: &[ServiceConfig]) -> Generation {
    let listener = ListenerConfig {
        name: "in".into(),
        address: Address::Tcp("127.0.0.1:0".parse().unwrap()),
        tls: None,
        direction: TrafficDirection::Gateway,
        chain: 0,
        rules: ListenerRules {
            upgrades: Protocols::new(["websocket"]),
            ..ListenerRules::default()
        },
        tcp: None,
        captured: None,
        plaintext: None,
    };
    let filters: Vec<_> = filters.into_iter().map(Arc::new).collect();
    let members: Vec<usize> = (0..filters.len()).collect();
    let chain = ChainLayout::build(&filters, &members, services);
    Generation {
        number,
        listeners: vec![listener],
        filters,
        chains: vec![chain],
        services: Arc::new(services.to_vec()),
        ..Generation::empty()
    }
}

/// A connection.
pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    /// Requests a path with additional header lines; returns status, head and body of the response.
    pub(super) fn ask(&mut self, path: &str, lines: &[(&str, &str)]) -> (u16, String, String) {
        self.send("GET", path, lines, "")
    }

    /// The same with a method and a body of that length.
    pub(super) fn post(
        &mut self,
        path: &str,
        lines: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let length = body.len().to_string();
        self.send("POST", path, &[lines, &[("content-length", &length)]].concat(), body)
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        lines: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let lines: String =
            lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: shop.example\r\n{lines}\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        self.receive()
    }

    /// The response to a request that was begun.
    pub(super) fn receive(&mut self) -> (u16, String, String) {
        let (head, length) = head(&mut self.0).expect("an answer");
        let mut body = Vec::new();
        if field(&head, "transfer-encoding").is_some() {
            while self.chunk(&mut body) > 0 {}
        } else {
            self.octets(length, &mut body);
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        (status, head, String::from_utf8(body).unwrap())
    }

    /// Sends a request and waits for nothing.
    pub(super) fn begin(&mut self, path: &str, lines: &[(&str, &str)]) {
        let lines: String =
            lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n{lines}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// Whether the other side closes it without sending anything.
    pub(super) fn is_closed(&mut self) -> bool {
        self.0.read_to_end(&mut Vec::new()).is_ok_and(|octets| octets == 0)
    }

    fn octets(&mut self, length: usize, into: &mut Vec<u8>) {
        let start = into.len();
        into.resize(start + length, 0);
        self.0.read_exact(&mut into[start..]).unwrap();
    }

    /// Reads a chunk (RFC 9112 §7.1); returns its length.
    fn chunk(&mut self, into: &mut Vec<u8>) -> usize {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        self.octets(length, into);
        self.octets(2, &mut Vec::new());
        length
    }
}
