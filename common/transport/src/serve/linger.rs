//! Ends a connection in a way that lets the peer read the last reply.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that a peer may still send after our last byte before we stop reading.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Sends `reply`, ends our side, and reads what the peer still sends, within limits.
///
/// Closing a socket with unread bytes makes the kernel send a reset, which may overtake the reply.
pub(crate) async fn close<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO, reply: &[u8]) {
    let drained = tokio::time::timeout(DRAIN_TIME, async {
        io.write_all(reply).await?;
        io.shutdown().await?;
        let mut sink = [0_u8; 4096];
        let mut left = DRAIN_BYTES;
        while left > 0 {
            match io.read(&mut sink).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, std::io::Error>(())
    });
    // The connection ends either way, and only the peer could miss something.
    let _ended = drained.await;
}
