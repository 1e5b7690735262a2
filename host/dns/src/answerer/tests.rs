use super::*;
use hickory_proto::op::{MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream as StdTcpStream, UdpSocket as StdUdpSocket};
use std::sync::mpsc;
use std::thread;

const PATIENCE: Duration = Duration::from_secs(10);
const HERE: &str = "127.0.0.1:0";

fn question(id: u16, name: &str) -> Message {
    let mut asked = Message::new(id, MessageType::Query, OpCode::Query);
    asked.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    asked
}

fn answerer(resolvers: Vec<SocketAddr>) -> Answerer {
    let mut zone = Zone::default();
    zone.insert("db.shop.mesh", Ipv4Addr::new(240, 0, 0, 9));
    let ambient = (Clock::system(), Random::system());
    // The port that is free for UDP may be one of a TCP connection of somebody else.
    let mut tries = (0..50).map(|_| {
        let resolvers = Resolvers::These(resolvers.clone());
        Answerer::start(HERE.parse().unwrap(), zone.clone(), resolvers, ambient)
    });
    tries.find_map(Result::ok).unwrap()
}

fn over_udp(to: &Answerer, asked: &Message) -> Message {
    let socket = StdUdpSocket::bind(HERE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&asked.to_vec().unwrap(), to.address()).unwrap();
    let mut room = [0; 4096];
    let length = socket.recv(&mut room).unwrap();
    Message::from_vec(&room[..length]).unwrap()
}

fn over_tcp(to: &Answerer, asked: &[Message]) -> Vec<Message> {
    let mut stream = StdTcpStream::connect(to.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = Vec::new();
    for one in asked {
        let octets = one.to_vec().unwrap();
        let length = u16::try_from(octets.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &octets].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).unwrap();
        answers.push(Message::from_vec(&answer).unwrap());
    }
    answers
}

/// A resolver that answers each question as `answers` says, and reports the number of each.
fn resolver(
    answers: impl Fn(&Message) -> Vec<Message> + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<u16>) {
    let socket = StdUdpSocket::bind(HERE).unwrap();
    let (address, (send, seen)) = (socket.local_addr().unwrap(), mpsc::channel());
    thread::spawn(move || {
        let mut room = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut room) {
            let asked = Message::from_vec(&room[..length]).unwrap();
            if send.send(asked.metadata.id).is_err() {
                return;
            }
            for answer in answers(&asked) {
                socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
            }
        }
    });
    (address, seen)
}

fn found(asked: &Message, last: u8) -> Message {
    let mut answer = response(asked);
    let address = RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
    answer.add_answer(Record::from_rdata(asked.queries[0].name.clone(), 60, address));
    answer
}

fn addresses(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|one| one.data.to_string()).collect()
}

#[test]
fn names_of_the_mesh_are_answered_over_both_transports_without_a_resolver() {
    let answerer = answerer(Vec::new());
    let (known, unknown) = (question(1, "DB.shop.mesh."), question(2, "x.shop.mesh."));
    assert_eq!(addresses(&over_udp(&answerer, &known)), ["240.0.0.9"]);
    assert_eq!(over_udp(&answerer, &unknown).metadata.response_code, ResponseCode::NXDomain);
    let both = over_tcp(&answerer, &[known.clone(), unknown]);
    assert_eq!(addresses(&both[0]), ["240.0.0.9"]);
    assert_eq!(both[1].metadata.response_code, ResponseCode::NXDomain);
    let mut zone = Zone::default();
    zone.insert("db.shop.mesh", Ipv4Addr::new(240, 0, 0, 10));
    answerer.set(zone);
    assert_eq!(addresses(&over_udp(&answerer, &known)), ["240.0.0.10"]);
}

#[test]
fn other_names_are_asked_of_the_resolvers_with_numbers_that_no_application_knows() {
    let (address, seen) = resolver(|asked| vec![found(asked, 1)]);
    let answerer = answerer(vec![address]);
    let numbers: Vec<u16> = (0..8)
        .map(|_| {
            let answer = over_udp(&answerer, &question(77, "example.com."));
            assert_eq!(
                (answer.metadata.id, addresses(&answer)),
                (77, vec!["192.0.2.1".to_owned()])
            );
            seen.recv_timeout(PATIENCE).unwrap()
        })
        .collect();
    assert!(numbers.iter().any(|one| *one != numbers[0]), "{numbers:?}");
}

#[test]
fn an_answer_to_something_else_is_not_believed() {
    let (address, _seen) = resolver(|asked| {
        let mut other_number = found(asked, 66);
        other_number.metadata.id = asked.metadata.id.wrapping_add(1);
        let mut other_name = found(&question(asked.metadata.id, "other.example."), 67);
        other_name.metadata.id = asked.metadata.id;
        let mut no_answer = found(asked, 68);
        no_answer.metadata.message_type = MessageType::Query;
        vec![other_number, other_name, no_answer, found(asked, 1)]
    });
    let answer = over_udp(&answerer(vec![address]), &question(5, "example.com."));
    assert_eq!(addresses(&answer), ["192.0.2.1"]);
}

#[test]
fn the_next_resolver_is_asked_where_one_is_gone_and_nobody_means_servfail() {
    let gone = StdUdpSocket::bind(HERE).unwrap().local_addr().unwrap();
    let (address, _seen) = resolver(|asked| vec![found(asked, 2)]);
    let answer = over_udp(&answerer(vec![gone, address]), &question(5, "example.com."));
    assert_eq!(addresses(&answer), ["192.0.2.2"]);
    let answer = over_udp(&answerer(vec![gone]), &question(5, "example.com."));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let answers = over_tcp(&answerer(Vec::new()), &[question(5, "example.com.")]);
    assert_eq!(answers[0].metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn questions_that_wait_are_bounded_and_the_mesh_is_still_answered() {
    // Bound and never read.
    let silent = StdUdpSocket::bind(HERE).unwrap();
    let answerer = answerer(vec![silent.local_addr().unwrap()]);
    let socket = StdUdpSocket::bind(HERE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nonblocking(true).unwrap();
    // Those within the bound wait for the resolver; one beyond it is answered at once. A busy machine may keep the answerer
    // from its turn for a while, and its system may lose questions, so more are sent until one is answered.
    let until = std::time::Instant::now() + PATIENCE;
    let mut room = [0; 512];
    for nth in 0.. {
        assert!(std::time::Instant::now() < until, "{nth} questions wait");
        let id = u16::try_from(nth).unwrap_or(u16::MAX);
        socket
            .send_to(&question(id, "example.com.").to_vec().unwrap(), answerer.address())
            .unwrap();
        thread::yield_now();
        let Ok(length) = socket.recv(&mut room) else { continue };
        let answer = Message::from_vec(&room[..length]).unwrap();
        if usize::from(answer.metadata.id) >= WAITING_MAX {
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
            break;
        }
    }
    // Over a connection, since the system may have no room for another datagram yet.
    let known = over_tcp(&answerer, &[question(1, "db.shop.mesh.")]);
    assert_eq!(addresses(&known[0]), ["240.0.0.9"]);
}

#[test]
fn nobody_else_can_ask_and_an_address_in_use_is_named() {
    let ambient = || (Clock::system(), Random::system());
    for address in ["0.0.0.0:0", "192.0.2.1:53", "[::]:0"] {
        let address = address.parse().unwrap();
        let refused = Answerer::start(address, Zone::default(), Resolvers::OfMachine, ambient());
        assert!(refused.err().unwrap().to_string().contains("loopback"), "{address}");
    }
    let other = StdUdpSocket::bind(HERE).unwrap();
    let address = other.local_addr().unwrap();
    let refused = Answerer::start(address, Zone::default(), Resolvers::OfMachine, ambient());
    assert!(refused.err().unwrap().to_string().contains(&address.to_string()));
}

#[test]
fn a_dropped_answerer_frees_its_address() {
    let first = answerer(Vec::new());
    let address = first.address();
    drop(first);
    let until = std::time::Instant::now() + PATIENCE;
    while StdUdpSocket::bind(address).is_err() {
        assert!(std::time::Instant::now() < until, "{address} is still in use");
        thread::yield_now();
    }
}
