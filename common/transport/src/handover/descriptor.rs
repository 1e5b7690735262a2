//! Messages with a file descriptor (`SCM_RIGHTS`, unix(7)). The only file of the crate with `unsafe`: it
//! takes ownership of a number that the kernel made for this process.

#![expect(unsafe_code, reason = "std has no safe way yet to own a descriptor that was received")]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::{MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, Socket, Type};

use super::HandedSocket;
use crate::listen::BoundListener;
use crate::udp::BoundUdp;

/// Length, level, type (cmsg(3)); the data follows at once, as its alignment is that of the length.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();
const WHOLE: usize = HEADER + size_of::<RawFd>();
/// More than the message with one descriptor needs, so that a message with more of them is noticed.
const ROOM: usize = HEADER + 16 * size_of::<RawFd>();

/// Sends `text` and a socket.
pub(super) fn send(stream: &Socket, text: &[u8], socket: &HandedSocket) -> io::Result<()> {
    let descriptor: BorrowedFd<'_> = match socket {
        HandedSocket::Listener(BoundListener::Tcp(listener)) => listener.as_fd(),
        HandedSocket::Listener(BoundListener::Unix(listener)) => listener.as_fd(),
        HandedSocket::Udp(port) => port.as_fd(),
    };
    let mut control = Vec::with_capacity(WHOLE.next_multiple_of(size_of::<usize>()));
    control.extend(WHOLE.to_ne_bytes());
    control.extend(libc::SOL_SOCKET.to_ne_bytes());
    control.extend(libc::SCM_RIGHTS.to_ne_bytes());
    control.extend(descriptor.as_raw_fd().to_ne_bytes());
    control.resize(WHOLE.next_multiple_of(size_of::<usize>()), 0);
    let text = [IoSlice::new(text)];
    let message = MsgHdr::new().with_buffers(&text).with_control(&control);
    stream.sendmsg(&message, libc::MSG_NOSIGNAL).map(drop)
}

/// The next message, and the socket that came with it, if any.
pub(super) fn receive(stream: &Socket, most: usize) -> io::Result<(Vec<u8>, Option<HandedSocket>)> {
    let mut text = vec![MaybeUninit::new(0_u8); most];
    let mut control = [MaybeUninit::new(0_u8); ROOM];
    let (length, control_length, truncated) = {
        let mut buffers = [MaybeUninitSlice::new(&mut text)];
        let mut message = MsgHdrMut::new().with_buffers(&mut buffers).with_control(&mut control);
        let length = stream.recvmsg(&mut message, libc::MSG_CMSG_CLOEXEC)?;
        (length, message.control_len(), message.flags().is_truncated())
    };
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let octets = |part: &[MaybeUninit<u8>]| part.iter().copied().map(octet).collect::<Vec<u8>>();
    let control = octets(control.get(..control_length).unwrap_or_default());
    let descriptors = descriptors(&control);
    let text = octets(text.get(..length).unwrap_or_default());
    match <[OwnedFd; 1]>::try_from(descriptors) {
        _ if truncated => Err(io::ErrorKind::InvalidData.into()),
        Ok([descriptor]) => Ok((text, Some(handed(descriptor)?))),
        Err(none) if none.is_empty() => Ok((text, None)),
        Err(_several) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The descriptors of the first control message; all received ones are owned, so that no descriptor leaks.
fn descriptors(control: &[u8]) -> Vec<OwnedFd> {
    let number = |at: usize| -> Option<i32> {
        let octets = control.get(at..at.checked_add(size_of::<i32>())?)?;
        Some(i32::from_ne_bytes(octets.try_into().ok()?))
    };
    let length = control.get(..size_of::<usize>()).and_then(|octets| octets.try_into().ok());
    let length = length.map_or(0, usize::from_ne_bytes).min(control.len());
    let level = number(size_of::<usize>());
    let kind = number(const { size_of::<usize>() + size_of::<i32>() });
    if level != Some(libc::SOL_SOCKET) || kind != Some(libc::SCM_RIGHTS) {
        return Vec::new();
    }
    let places = (HEADER..length).step_by(size_of::<RawFd>());
    let numbers =
        places.filter(|at| at.saturating_add(size_of::<RawFd>()) <= length).filter_map(number);
    numbers.map(own).collect()
}

fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for this process alone when it delivered the message (unix(7)), and the
    // message is read once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// A byte of a buffer that was all zeros before the kernel wrote into it.
fn octet(octet: MaybeUninit<u8>) -> u8 {
    // SAFETY: `receive` makes its buffers of `MaybeUninit::new(0)`, and the kernel only writes over them.
    unsafe { octet.assume_init() }
}

/// A descriptor as a listener or a UDP port; any other one is refused.
fn handed(descriptor: OwnedFd) -> io::Result<HandedSocket> {
    let socket = Socket::from(descriptor);
    if socket.r#type()? == Type::DGRAM {
        return BoundUdp::of_other(socket).map(HandedSocket::Udp);
    }
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a listening socket"));
    }
    socket.set_nonblocking(true)?;
    let address: SockAddr = socket.local_addr()?;
    let listener = if address.is_unix() {
        BoundListener::Unix(socket.into())
    } else {
        BoundListener::Tcp(socket.into())
    };
    Ok(HandedSocket::Listener(listener))
}
