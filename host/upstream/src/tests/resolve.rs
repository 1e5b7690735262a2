//! Name servers that answer by halves.

use super::*;
use crate::resolve::{NameResolver, Resolvers};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;
use tokio::net::UdpSocket;

/// A name server's reaction to a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    Address(IpAddr),
    /// The name exists, an address of that family does not.
    NoRecord,
    Never,
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Answers questions for A with `a` and for AAAA with `aaaa`.
async fn name_server(a: Reply, aaaa: Reply) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(tokio::task::spawn_local(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            // The name ends with an empty label; type and class follow (RFC 1035 §4.1.2).
            let name = question[12..length].iter().position(|octet| *octet == 0).unwrap();
            let end = 12 + name + 5;
            let reply = if question[end - 3] == 28 { aaaa } else { a };
            if reply == Reply::Never {
                continue;
            }
            let octets = match reply {
                Reply::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
                Reply::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
                Reply::NoRecord | Reply::Never => Vec::new(),
            };
            let mut answer = question[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(!octets.is_empty()), 0, 0, 0, 0]);
            answer.extend(&question[12..end]);
            if !octets.is_empty() {
                answer.extend([0xc0, 12, 0, question[end - 3], 0, 1, 0, 0, 0, 60, 0]);
                answer.push(u8::try_from(octets.len()).unwrap());
                answer.extend(octets);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    }));
    address
}

fn resolvers(server: SocketAddr) -> Resolvers {
    [LookupIpStrategy::Ipv4Only, LookupIpStrategy::Ipv6Only].map(|strategy| {
        let mut port = ConnectionConfig::udp();
        port.port = server.port();
        let mut server = NameServerConfig::udp(server.ip());
        server.connections = vec![port];
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        builder.options_mut().ip_strategy = strategy;
        Rc::new(builder.build().unwrap())
    })
}

#[tokio::test]
async fn the_first_request_waits_for_the_faster_family_alone() {
    use Reply::{Address, Never, NoRecord};
    for (a, aaaa, addresses) in [
        (Address(V4), Never, &[V4][..]),
        (Never, Address(V6), &[V6]),
        (Address(V4), NoRecord, &[V4]),
        (NoRecord, Address(V6), &[V6]),
        (Address(V4), Address(V6), &[V4, V6]),
    ] {
        on_worker(async {
            let server = name_server(a, aaaa).await;
            let names = Rc::new(NameResolver::with(resolvers(server)));
            let began = Instant::now();
            let name = names.follow("app.example", 80);
            let found = name.addresses().await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            let found: Vec<_> = found.iter().map(SocketAddr::ip).collect();
            assert_eq!(found, addresses);
        })
        .await;
    }
}

#[tokio::test]
async fn a_name_leads_to_no_address_of_this_machine() {
    use Reply::{Address, NoRecord};
    for (ip, passes) in [
        ("127.0.0.1", false),
        ("127.9.9.9", false),
        ("0.0.0.0", false),
        ("169.254.169.254", false),
        ("10.0.0.1", true),
        ("0.1.2.3", false),
        ("::1", false),
        ("64:ff9b::7f00:1", false),
        ("fd00:ec2::254", false),
        ("100.100.100.200", false),
        ("168.63.129.16", false),
        ("::ffff:127.0.0.1", false),
        ("fe80::1", false),
        ("2001:db8::1", true),
    ] {
        on_worker(async {
            let ip: IpAddr = ip.parse().unwrap();
            let (a, aaaa) =
                if ip.is_ipv4() { (Address(ip), NoRecord) } else { (NoRecord, Address(ip)) };
            let server = name_server(a, aaaa).await;
            let names = Rc::new(NameResolver::with_rule(resolvers(server)));
            let found = names.follow("app.example", 80).addresses().await;
            assert_eq!(found.is_ok(), passes, "{ip}: {found:?}");
            let why = found.err().unwrap_or_default();
            assert!(passes || why.contains("address of this machine"), "{ip}: {why}");
            // Whoever writes the address, or `localhost`, means it.
            assert!(names.follow("localhost", 80).addresses().await.is_ok());
        })
        .await;
    }
}

#[tokio::test]
async fn a_name_without_addresses_is_an_error_that_says_so() {
    on_worker(async {
        let server = name_server(Reply::NoRecord, Reply::NoRecord).await;
        let names = Rc::new(NameResolver::with(resolvers(server)));
        let failure = names.follow("app.example", 80).addresses().await.unwrap_err();
        assert!(failure.contains("no address"), "{failure}");
    })
    .await;
}
