//! Whether a connection failed because the peer broke its protocol, or because it refused this side.

use std::error::Error;
use std::io;

/// Whether the error was caused by what the peer sent, and not by its connection: an invalid message,
/// frames over their budget, TLS records that cannot be read. The same request to the same peer would end
/// the same way.
pub fn is_broken_by(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let of_peer = if let Some(error) = error.downcast_ref::<h2::Error>() {
            error.get_io().map_or(is_ours(error), is_invalid)
        } else {
            error.downcast_ref::<io::Error>().is_some_and(is_invalid)
        };
        if of_peer {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether this side ended the stream or connection because of what it received (RFC 9113 §5.4).
fn is_ours(error: &h2::Error) -> bool {
    let harmless = [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::REFUSED_STREAM];
    error.is_library() && error.reason().is_some_and(|reason| !harmless.contains(&reason))
}

/// Whether the peer refused this side's certificate after the client's part of the handshake (kind
/// [`io::ErrorKind::ConnectionRefused`]): it read no request.
pub(crate) fn is_refused_by(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = match error.downcast_ref::<h2::Error>() {
            Some(error) => error.get_io(),
            None => error.downcast_ref::<io::Error>(),
        };
        if io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_invalid(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}
