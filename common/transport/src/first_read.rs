//! The first read of a head.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of the first read of a head.
const READ_HEAD: usize = 4 * 1024;

/// Reads once, into memory that is not the connection's, so that the buffer is as long as what arrived. Ready with 0 at the
/// end of the stream.
pub(crate) fn poll_first_read<IO: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    io: &mut IO,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut octets = [MaybeUninit::<u8>::uninit(); READ_HEAD];
    let mut out = ReadBuf::uninit(&mut octets);
    ready!(Pin::new(io).poll_read(cx, &mut out))?;
    buffer.extend_from_slice(out.filled());
    Poll::Ready(Ok(out.filled().len()))
}
