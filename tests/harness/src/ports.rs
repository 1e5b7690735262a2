//! Ports for processes that tests and measurements start.
//!
//! A port asked of the kernel (`bind` to port 0) is one of its ephemeral range: between the moment it is given back and
//! the moment the process under test listens on it, any outgoing connection of this machine may take it. The ports
//! handed out here lie in the lower half of what is below that range, and each is handed out once per process. The upper
//! half is for a second process with the same ports: what is [`SHIFT`] above a port that was handed out is free as well.

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lowest port that is given: below are those of well-known services.
const LOWEST: u16 = 10_000;
/// Where Linux begins its ephemeral ports when nothing else is set (`ip_local_port_range`, ip(7)).
const EPHEMERAL: u16 = 32_768;

/// How far above a port of [`free`] the port lies that is handed out with it.
pub const SHIFT: u16 = 11_000;

/// A port of loopback that nobody listens on, that no outgoing connection will take, and that this process was not
/// given before. The port that is [`SHIFT`] above it is free as well.
///
/// # Panics
///
/// When every port of the range is taken.
#[must_use]
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static START: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let ports = range();
    // Processes that run in parallel begin at different places.
    let start = *START.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        std::process::id().wrapping_mul(997).wrapping_add(now.subsec_micros())
    });
    for _ in ports.clone() {
        let turn = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let place = turn % u32::from(ports.end - ports.start);
        let port = ports.start.saturating_add(u16::try_from(place).unwrap_or(0));
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("127.0.0.1", port.saturating_add(SHIFT))).is_ok()
        {
            return port;
        }
    }
    #[expect(clippy::panic, reason = "a test without a port can do nothing else")]
    {
        panic!("no port of {}–{} is free", ports.start, ports.end)
    }
}

/// An address of loopback with such a port.
///
/// # Panics
///
/// As [`free`] does.
#[must_use]
pub fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free()))
}

/// The lower half of the ports below those that the kernel hands out.
fn range() -> Range<u16> {
    let text =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = text.split_whitespace().next().and_then(|first| first.parse::<u16>().ok());
    let end = first.unwrap_or(EPHEMERAL).saturating_sub(SHIFT);
    // A machine with hardly any port below its ephemeral range gets some nevertheless.
    if end > LOWEST + 1_000 { LOWEST..end.min(LOWEST + SHIFT) } else { LOWEST..LOWEST + SHIFT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::TcpStream;

    #[test]
    fn every_port_is_given_once_and_lies_below_the_ephemeral_range() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..50).map(|_| free()).collect::<Vec<_>>()))
            .collect();
        let ports: Vec<u16> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 200);
        assert!(ports.iter().all(|port| range().contains(port)));
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let held = TcpListener::bind(("127.0.0.1", free())).unwrap();
        let address = held.local_addr().unwrap();
        assert!((0..20).all(|_| free() != address.port()));
        assert!(TcpStream::connect(address).is_ok());
    }
}
