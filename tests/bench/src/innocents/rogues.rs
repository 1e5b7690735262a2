//! Upstreams and clients that misbehave, each in one way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use tamis_harness::shell;

/// A way to misbehave.
pub(super) struct RogueClient {
    /// In words.
    pub(super) name: &'static str,
    /// The path that is requested; it identifies the rogue.
    pub(super) path: &'static str,
    /// What the upstream sends once, in answer to a request.
    pub(super) answer: &'static [u8],
    /// What it sends again and again after that; empty when it only reads.
    pub(super) endless: &'static [u8],
    pub(super) client: Client,
}

/// How a client asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// One request after the other, read as fast as they come.
    Get,
    /// A request whose response is read one byte at a time.
    SlowReader,
    /// A body without end.
    Upload,
    /// HTTP/2: a preface, then these frames again and again.
    Frames(&'static [u8]),
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const PRIORITY: &[u8] = &[0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1];
const WINDOW_UPDATE: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const CONTENT: &[u8] = &[b'x'; 16 * 1024];

const fn upstream(
    name: &'static str,
    answer: &'static [u8],
    endless: &'static [u8],
) -> RogueClient {
    RogueClient { name, path: "/rogue", answer, endless, client: Client::Get }
}

const fn upstream_http2(name: &'static str, endless: &'static [u8]) -> RogueClient {
    RogueClient { name, path: "/http2", answer: SETTINGS, endless, client: Client::Get }
}

const fn client(name: &'static str, frames: &'static [u8]) -> RogueClient {
    let client = Client::Frames(frames);
    RogueClient { name, path: "/rogue", answer: OK, endless: b"", client }
}

const fn filter(name: &'static str, path: &'static str) -> RogueClient {
    RogueClient { name, path, answer: OK, endless: b"", client: Client::Get }
}

/// Every way there is.
pub(super) const ROGUES: &[RogueClient] = &[
    upstream("upstream: 100 without end", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    upstream("upstream: 103 without end", b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    upstream("upstream: zeros of a chunk size", CHUNKED, b"0"),
    upstream("upstream: a chunk extension without end", CHUNKED, b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    upstream("upstream: chunks of one octet", CHUNKED, b"1\r\nx\r\n"),
    upstream("upstream: fields without end", b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    upstream("upstream: a field without end", b"HTTP/1.1 200 OK\r\na: ", b"x"),
    upstream(
        "upstream: trailers without end",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        b"a: b\r\n",
    ),
    upstream("upstream: content without end", UNTIL_CLOSE, CONTENT),
    upstream_http2("upstream: PING", PING),
    upstream_http2("upstream: SETTINGS", SETTINGS),
    upstream_http2("upstream: WINDOW_UPDATE", WINDOW_UPDATE),
    client("client: PING", PING),
    client("client: SETTINGS", SETTINGS),
    client("client: PRIORITY", PRIORITY),
    client("client: WINDOW_UPDATE", WINDOW_UPDATE),
    RogueClient {
        name: "client: reads an octet at a time",
        path: "/rogue",
        answer: UNTIL_CLOSE,
        endless: CONTENT,
        client: Client::SlowReader,
    },
    RogueClient {
        name: "client: a body without end",
        path: "/rogue",
        answer: b"",
        endless: b"",
        client: Client::Upload,
    },
    filter("filter: traps, and is slow to configure", "/trap"),
    filter("filter: floods its log", "/log"),
    filter("none: as many clients that behave", "/"),
];

/// Threads of a rogue; they end when this is dropped.
pub(super) struct RogueThreads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for RogueThreads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has nothing more to end.
            drop(thread.join());
        }
    }
}

/// How long a thread waits before it checks whether it should end.
const PATIENCE: Duration = Duration::from_millis(100);

/// Who an upstream serves, which decides who gets the core first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServedClients {
    Innocents,
    Rogues,
}

/// An upstream that answers each request with `answer`, then with `endless`.
pub(super) fn serve(
    listener: TcpListener,
    answer: &'static [u8],
    endless: &'static [u8],
    clients: ServedClients,
) -> Result<RogueThreads> {
    listener.set_nonblocking(true)?;
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        match clients {
            ServedClients::Rogues => yield_to_innocents(),
            ServedClients::Innocents => go_before_rogues(),
        }
        let mut connections: Vec<JoinHandle<()>> = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    let ended = Arc::clone(&ended);
                    connections.push(std::thread::spawn(move || {
                        // A connection that breaks is one the proxy cut.
                        drop(answer_all(stream, answer, endless, &ended));
                    }));
                }
                Err(_none) => std::thread::sleep(Duration::from_millis(1)),
            }
            connections.retain(|thread| !thread.is_finished());
        }
        connections.into_iter().for_each(|thread| drop(thread.join()));
    });
    Ok(RogueThreads { stop, threads: vec![thread] })
}

fn answer_all(
    mut stream: TcpStream,
    answer: &[u8],
    endless: &[u8],
    stop: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let many = endless.repeat((64 * 1024 / endless.len().max(1)).max(1));
    let mut octets = [0; 16 * 1024];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut octets) {
            Ok(0) => return Ok(()),
            // Requests here are shorter than what one read takes; a body without end is only read.
            Ok(_) if answer.is_empty() && endless.is_empty() => {}
            Ok(_) => {
                stream.write_all(answer)?;
                flood(&mut stream, &many, stop)?;
            }
            Err(error) if is_patience(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends `many` again and again, also to a peer that reads nothing for a while.
fn flood(stream: &mut TcpStream, many: &[u8], stop: &AtomicBool) -> std::io::Result<()> {
    let mut at = 0;
    while !many.is_empty() && !stop.load(Ordering::Relaxed) {
        match stream.write(many.get(at..).unwrap_or_default()) {
            Ok(written) => at = (at + written) % many.len(),
            Err(error) if is_patience(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives this thread, and those that it starts, a real-time policy, as far as the machine permits: the load of the
/// innocents and their upstream wait for the proxy alone, and not for what the kernel does for rogues on their core.
pub(super) fn go_before_rogues() {
    chrt("--fifo", "1");
}

/// Gives this thread, and those that it starts, the policy of idle threads: rogues share a core with the load of the
/// innocents and with their upstream, and what is measured is the proxy, not that core. A low priority alone does not
/// do it: a thread that runs keeps its slice of some milliseconds, whoever wakes meanwhile.
fn yield_to_innocents() {
    chrt("--idle", "0");
}

/// Sets the policy of this thread. A machine without `chrt`, or without the right to use it, measures what the core of
/// everything else adds as well.
fn chrt(policy: &str, priority: &str) {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(thread) = thread.file_name() else { return };
    drop(shell::command("chrt").args([policy, "--pid", priority]).arg(thread).output());
}

fn is_patience(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Clients that behave like this until they are stopped. Each has its policy when this returns.
pub(super) fn ask(
    address: SocketAddr,
    rogue: &'static RogueClient,
    clients: usize,
) -> RogueThreads {
    let stop = Arc::new(AtomicBool::new(false));
    let ready = Arc::new(Barrier::new(clients + 1));
    let threads = (0..clients).map(|_| {
        let (stop, ready) = (Arc::clone(&stop), Arc::clone(&ready));
        std::thread::spawn(move || {
            yield_to_innocents();
            ready.wait();
            while !stop.load(Ordering::Relaxed) {
                // A broken connection was cut by the proxy; the next one is opened after a short pause.
                drop(ask_once(address, rogue, &stop));
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    });
    let threads = threads.collect();
    ready.wait();
    RogueThreads { stop, threads }
}

fn ask_once(address: SocketAddr, rogue: &RogueClient, stop: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = rogue.path;
    match rogue.client {
        Client::Get | Client::SlowReader => {
            let head =
                format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes())?;
        }
        Client::Upload => {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: bench.example\r\ncontent-length: 99999999999\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            return flood(&mut stream, CONTENT, stop);
        }
        Client::Frames(frames) => {
            stream.write_all(PREFACE)?;
            stream.write_all(SETTINGS)?;
            let mut answers = stream.try_clone()?;
            let reads = std::thread::spawn(move || {
                let mut octets = [0; 64 * 1024];
                while answers.read(&mut octets).is_ok_and(|read| read > 0) {}
            });
            let sent = flood(&mut stream, &frames.repeat(64 * 1024 / frames.len()), stop);
            drop(stream.shutdown(std::net::Shutdown::Both));
            drop(reads.join());
            return sent;
        }
    }
    let mut octets = [0; 64 * 1024];
    let at_once = if rogue.client == Client::SlowReader { 1 } else { octets.len() };
    while !stop.load(Ordering::Relaxed) {
        match stream.read(octets.get_mut(..at_once).unwrap_or_default()) {
            Ok(0) => return Ok(()),
            Ok(_) if at_once == 1 => std::thread::sleep(Duration::from_millis(10)),
            Ok(_) => {}
            Err(error) if is_patience(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Reads as many bytes as `wanted` has.
    fn read(stream: &mut TcpStream, wanted: usize) -> Vec<u8> {
        let mut seen = vec![0; wanted];
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.read_exact(&mut seen).unwrap();
        seen
    }

    #[test]
    fn every_upstream_misbehaves_as_its_name_says() {
        for rogue in ROGUES {
            let (listener, address) = listener();
            let _upstream =
                serve(listener, rogue.answer, rogue.endless, ServedClients::Rogues).unwrap();
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut wanted = rogue.answer.to_vec();
            wanted.extend(rogue.endless.repeat(3));
            let seen = read(&mut stream, wanted.len());
            assert_eq!(seen, wanted, "{}", rogue.name);
        }
    }

    #[test]
    fn every_client_misbehaves_as_its_name_says() {
        for rogue in ROGUES {
            let (listener, address) = listener();
            let _client = ask(address, rogue, 1);
            let (mut stream, _) = listener.accept().unwrap();
            let mut wanted = match rogue.client {
                Client::Get | Client::SlowReader => format!("GET {} ", rogue.path).into_bytes(),
                Client::Upload => format!("POST {} ", rogue.path).into_bytes(),
                Client::Frames(_) => [PREFACE, SETTINGS].concat(),
            };
            if let Client::Frames(frames) = rogue.client {
                wanted.extend(frames.repeat(3));
            }
            let seen = read(&mut stream, wanted.len());
            assert_eq!(seen, wanted, "{}", rogue.name);
        }
    }
}
