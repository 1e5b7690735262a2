//! The end of a proxy as its clients see it, and a successor that takes over.

use super::live::LiveProxy;
use super::*;
use crate::generation::ListenerConfig;
use crate::{AdminAccess, InheritedSockets, Proxy, ProxyOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tamis_resources::plan::TrafficDirection;
use tamis_transport::Address;
use tamis_transport::handover::Predecessor;

const FAR: Duration = Duration::from_secs(3_600);

#[test]
fn a_lame_duck_serves_whoever_comes_and_asks_them_not_to_come_again() {
    let live = LiveProxy::start(Vec::new(), ProxyOptions::default());
    let mut old = live.client();
    let (_, head, _) = old.ask("/", &[]);
    assert!(!head.contains("connection: close"), "{head}");
    live.proxy.leave(FAR);
    // A connection opened before, and a new one: both are answered, and then closed.
    for mut client in [old, live.client()] {
        // A worker receives the command between two requests.
        let (status, ..) =
            live.until(|_| client.ask("/", &[]), |(_, head, _)| head.contains("connection: close"));
        assert_eq!(status, 404, "no router, no route");
        assert!(client.is_closed());
    }
    assert!(!live.proxy.has_closed());
    live.proxy.drain();
    let Some(Address::Tcp(address)) = live.proxy.address("in") else { panic!() };
    live.until(|_| TcpStream::connect(address).is_err(), |refused| *refused);
}

#[test]
fn listeners_close_when_the_lame_ducks_time_is_over_and_not_when_it_was_called_off() {
    let live = LiveProxy::start(Vec::new(), ProxyOptions::default());
    live.proxy.inner.leave(Duration::from_millis(50));
    live.proxy.inner.stay().unwrap();
    live.proxy.inner.leave(FAR);
    assert!(!live.proxy.has_closed(), "the first drain was called off");
    live.proxy.inner.leave(Duration::from_millis(50));
    live.until(Proxy::has_closed, |closed| *closed);
}

fn generation(address: SocketAddr) -> Generation {
    let listener = ListenerConfig {
        name: "in".into(),
        address: Address::Tcp(address),
        tls: None,
        direction: TrafficDirection::Gateway,
        chain: 0,
        rules: Default::default(),
        tcp: None,
        captured: None,
        plaintext: None,
    };
    Generation {
        number: 1,
        listeners: vec![listener],
        chains: vec![ChainLayout::default()],
        ..Generation::empty()
    }
}

fn started(workers: usize, inherited: InheritedSockets) -> Proxy {
    let options = ProxyOptions {
        workers: NonZeroUsize::new(workers),
        admin: Some(Address::Tcp("127.0.0.1:0".parse().unwrap())),
        access: AdminAccess::default(),
        lame_duck: Duration::from_millis(100),
        inherited,
        ..ProxyOptions::default()
    };
    Proxy::start(options, generation("127.0.0.1:0".parse().unwrap())).unwrap()
}

/// Sends a request over a new connection; returns whether a complete response arrived.
fn ask(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 404")
}

#[test]
fn a_successor_takes_the_place_and_no_connection_is_refused() {
    // The same number of workers, fewer, more: every socket is accepted from.
    for (before, after) in [(2, 2), (3, 1), (1, 3)] {
        let folder =
            std::env::temp_dir().join(format!("tamis-{}-{before}{after}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("give");
        drop(std::fs::remove_file(&path));
        let old = started(before, InheritedSockets::default());
        let Some(Address::Tcp(address)) = old.address("in") else { panic!() };
        let admin = old.admin_address();
        old.hand_over_at(&path).unwrap();
        let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        let failed = std::thread::scope(|scope| {
            let client = || {
                let mut failed = 0;
                while !stop.load(Ordering::Relaxed) {
                    failed += u64::from(!ask(address));
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failed
            };
            let clients = [scope.spawn(client), scope.spawn(client), scope.spawn(client)];
            let more = |than: u64| {
                let until = asked.load(Ordering::Relaxed) + than;
                while asked.load(Ordering::Relaxed) < until {
                    std::thread::yield_now();
                }
            };
            more(50);
            let (predecessor, sockets) = Predecessor::ask(&path).unwrap();
            let new = started(after, InheritedSockets::new(sockets));
            assert_eq!(new.address("in"), Some(Address::Tcp(address)));
            assert_eq!(new.admin_address(), admin);
            more(50);
            assert!(!old.has_closed(), "it serves until it is told");
            predecessor.serving().unwrap();
            while !(old.has_closed() && old.connections() == 0) {
                std::thread::yield_now();
            }
            let begun = old.exchanges();
            more(100);
            drop(old);
            more(100);
            assert!(new.exchanges() > 0 && begun > 0);
            stop.store(true, Ordering::Relaxed);
            clients.map(|client| client.join().unwrap()).iter().sum::<u64>()
        });
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(failed, 0, "{before} workers, then {after}, {} asked", asked.into_inner());
    }
}
