//! Forwards a question to a resolver, and checks that what comes back answers it.

use hickory_proto::op::{Message, MessageType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tamis_ambient::Random;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver may take.
const TIME: Duration = Duration::from_secs(2);
/// Resolvers that are asked one after the other, as with `resolv.conf` (its MAXNS).
const RESOLVERS_MAX: usize = 3;
/// Largest answer over UDP: four times what EDNS usually allows. A longer one counts as none.
const UDP_MAX: usize = 16_384;
/// Octets of a number of a message.
const ID: usize = 2;

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Asks resolvers in their order until one answers; `None`: none does.
pub(crate) async fn ask(
    question: (&[u8], &Message),
    resolvers: &[SocketAddr],
    transport: Transport,
    random: Random,
) -> Option<Vec<u8>> {
    for resolver in resolvers.iter().take(RESOLVERS_MAX) {
        let asking = tokio::time::timeout(TIME, ask_one(question, *resolver, transport, random));
        match asking.await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver cannot be asked"),
            Err(_elapsed) => tracing::debug!(%resolver, "a resolver does not answer"),
        }
    }
    None
}

/// Asks one resolver under a random id of our own, and returns the answer under the application's id.
async fn ask_one(
    (octets, asked): (&[u8], &Message),
    resolver: SocketAddr,
    transport: Transport,
    random: Random,
) -> io::Result<Vec<u8>> {
    let number = u16::from_be_bytes(random.octets().map_err(io::Error::other)?);
    let question = numbered(octets, number);
    let mut answer = match transport {
        Transport::Udp => over_udp(&question, asked, number, resolver).await?,
        Transport::Tcp => over_tcp(&question, asked, number, resolver).await?,
    };
    answer = numbered(&answer, asked.metadata.id);
    Ok(answer)
}

async fn over_udp(
    question: &[u8],
    asked: &Message,
    number: u16,
    resolver: SocketAddr,
) -> io::Result<Vec<u8>> {
    // A port for each question, so that nobody else can guess it (RFC 5452 §9.2).
    let any = match resolver {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut room = vec![0; UDP_MAX];
    loop {
        let length = socket.recv(&mut room).await?;
        let answer = room.get(..length).unwrap_or_default();
        // Anything else may come from somebody who guesses: the true answer is still waited for.
        if answers(answer, asked, number) {
            return Ok(answer.to_vec());
        }
    }
}

async fn over_tcp(
    question: &[u8],
    asked: &Message,
    number: u16,
    resolver: SocketAddr,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_framed(&mut stream, question).await?;
    let answer = read_framed(&mut stream).await?;
    match answers(&answer, asked, number) {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it answers something else")),
    }
}

/// Reads a message over TCP (RFC 1035 §4.2.2).
pub(crate) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message over TCP.
pub(crate) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(message.len().saturating_add(ID));
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Whether a message answers a question: its number, and the question itself.
fn answers(octets: &[u8], asked: &Message, number: u16) -> bool {
    let Ok(answer) = Message::from_vec(octets) else { return false };
    answer.metadata.id == number
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == asked.queries
}

/// A message with another number.
fn numbered(message: &[u8], number: u16) -> Vec<u8> {
    let rest = message.get(ID..).unwrap_or_default();
    [&number.to_be_bytes()[..], rest].concat()
}
