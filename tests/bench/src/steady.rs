//! Load at a constant rate: each request has a time at which it is due, and its latency counts from then.
//!
//! So a proxy that stalls is charged for every request that had to wait, not only for the one it stalled on
//! ("coordinated omission", Gil Tene, *How NOT to Measure Latency*, 2013).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

/// Longest wait for a response.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that send at a constant rate until told to end.
pub(super) struct SteadyLoad {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<LoadObservation>>,
}

/// What connections saw.
#[derive(Default)]
pub(super) struct LoadObservation {
    /// Of each response, from when its request was due.
    latencies: Vec<Duration>,
    /// Requests that got no response, or another status than 200.
    pub(super) failed: Vec<String>,
}

impl SteadyLoad {
    /// Starts `connections` that send `per_second` requests together.
    pub(super) fn start(address: &str, headers: &str, connections: u32, per_second: u32) -> Self {
        Self::start_after(address, headers, (connections, per_second), || {})
    }

    /// The same, after each of the threads has called `first_call`: the first request is due after all of them, so that
    /// none is charged for it.
    pub(super) fn start_after(
        address: &str,
        headers: &str,
        (connections, per_second): (u32, u32),
        first_call: fn(),
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let period = Duration::from_secs(1) * connections / per_second;
        let ready = Arc::new(Barrier::new(usize::try_from(connections).unwrap_or(usize::MAX)));
        let threads = (0..connections).map(|index| {
            let (stop, ready) = (Arc::clone(&stop), Arc::clone(&ready));
            let address = address.to_owned();
            let request = request(HOST, "/catalog/items?page=2", headers);
            std::thread::spawn(move || {
                first_call();
                ready.wait();
                let first = Instant::now() + period * index / connections;
                send(&address, &request, first, period, &stop)
            })
        });
        Self { stop: Arc::clone(&stop), threads: threads.collect() }
    }

    /// Ends it after the requests under way.
    pub(super) fn end(self) -> Result<LoadObservation> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = LoadObservation::default();
        for thread in self.threads {
            let seen = thread.join().map_err(|_| anyhow!("a connection's thread panicked"))?;
            all.latencies.extend(seen.latencies);
            all.failed.extend(seen.failed);
        }
        all.latencies.sort_unstable();
        Ok(all)
    }
}

impl LoadObservation {
    /// Responses of status 200.
    pub(super) fn served(&self) -> usize {
        self.latencies.len()
    }

    /// Latency that so many hundredths of the responses had at most, microseconds.
    pub(super) fn percentile_us(&self, hundredths: usize) -> f64 {
        let index =
            (self.latencies.len() * hundredths / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }
}

fn send(
    address: &str,
    request: &str,
    first: Instant,
    period: Duration,
    stop: &AtomicBool,
) -> LoadObservation {
    let mut seen = LoadObservation::default();
    let mut connection = None;
    let mut due = first;
    while !stop.load(Ordering::Relaxed) {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        match exchange(&mut connection, address, request) {
            Ok((200, _)) => seen.latencies.push(due.elapsed()),
            Ok((status, _)) => seen.failed.push(format!("status {status}")),
            Err(error) => {
                connection = None;
                seen.failed.push(format!("{error:#}"));
            }
        }
        due += period;
    }
    seen
}

/// One request on a connection of its own: the status and the body.
pub(super) fn get(address: &str, path: &str, headers: &str) -> Result<(u16, String)> {
    get_from(address, HOST, path, headers)
}

/// The same, from a host of that name.
pub(super) fn get_from(
    address: &str,
    host: &str,
    path: &str,
    headers: &str,
) -> Result<(u16, String)> {
    exchange(&mut None, address, &request(host, path, headers))
}

const HOST: &str = "bench.example";

fn request(host: &str, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n")
}

fn exchange(
    connection: &mut Option<TcpStream>,
    address: &str,
    request: &str,
) -> Result<(u16, String)> {
    if connection.is_none() {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        *connection = Some(stream);
    }
    let Some(stream) = connection else { bail!("there is no connection") };
    stream.write_all(request.as_bytes())?;
    let mut octets = Vec::with_capacity(1024);
    let mut part = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            bail!("the connection was closed before the response was whole");
        }
        octets.extend_from_slice(part.get(..read).unwrap_or_default());
        if let Some(response) = response(&octets) {
            return Ok(response);
        }
    }
}

/// Status and body, once all of it is there. The servers here answer with a length or in chunks.
fn response(octets: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(octets).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let whole = match field("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => body.ends_with("0\r\n\r\n"),
    };
    whole.then(|| (status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_whole_with_its_last_octet() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(response(text.as_bytes()), Some((200, "abc".to_owned())));
        assert_eq!(response(&text.as_bytes()[..text.len() - 1]), None);
        let chunked = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        assert_eq!(response(chunked).unwrap().0, 503);
    }

    #[test]
    fn a_stall_is_charged_to_every_request_that_was_due() {
        use std::io::{Read as _, Write as _};
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let (enough, wait) = std::sync::mpsc::channel();
        let stalls = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut octets = [0; 1024];
            for turn in 0.. {
                let Ok(1..) = stream.read(&mut octets) else { return };
                match turn {
                    3 => std::thread::sleep(Duration::from_millis(200)),
                    250 => enough.send(()).unwrap(),
                    _ => {}
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        let load = SteadyLoad::start(&address, "", 1, 1_000);
        wait.recv().unwrap();
        let seen = load.end().unwrap();
        stalls.join().unwrap();
        assert!(seen.failed.is_empty(), "{:?}", seen.failed);
        let late = seen.latencies.iter().filter(|one| **one > Duration::from_millis(50)).count();
        assert!(late > 50, "{late} of {} were charged", seen.served());
    }
}
