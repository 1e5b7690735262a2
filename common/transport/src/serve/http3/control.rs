//! The streams of a connection that belong to no request (RFC 9114 §6.2, RFC 9204 §4.2): its settings and its end, ours and the
//! client's.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;

use super::code::Code;
use super::error::Http3Error;
use super::frames::{self, FrameHead, FrameReader, frame, put_integer};
use super::state::ConnectionState;
use crate::causes::causes;

/// Types of streams.
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;

/// Settings that we state (RFC 9114 §7.2.4.1, RFC 9220 §5); the tables of QPACK stay at nothing, which is the default.
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;
/// Settings of HTTP/2 that have no meaning here and may not be sent.
const OF_HTTP2: [u64; 4] = [0x2, 0x3, 0x4, 0x5];

/// The longest frame of a control stream that is read.
const CONTROL_BYTES_MAX: u64 = 4 * 1024;

/// Sends GOAWAYs.
pub(super) struct GoAways(mpsc::UnboundedSender<u64>);

impl GoAways {
    /// Says that no request with this id, or a higher one, is served.
    pub(super) fn send(&self, id: u64) {
        // It fails once the connection has ended.
        let _ended = self.0.send(id);
    }
}

/// Opens our control stream; clients may send field sections of so many bytes.
pub(super) fn open(connection: Connection, section: u32) -> GoAways {
    let (send, receive) = mpsc::unbounded_channel();
    drop(tokio::task::spawn_local(async move {
        if let Err(error) = speak(&connection, section, receive).await {
            tracing::debug!(error = causes(&*error), "a control stream ended early");
        }
    }));
    GoAways(send)
}

async fn speak(
    connection: &Connection,
    section: u32,
    mut goaways: mpsc::UnboundedReceiver<u64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream: SendStream = connection.open_uni().await?;
    let mut settings = Vec::new();
    for (setting, value) in
        [(MAX_FIELD_SECTION_SIZE, u64::from(section)), (ENABLE_CONNECT_PROTOCOL, 1)]
    {
        put_integer(&mut settings, setting);
        put_integer(&mut settings, value);
    }
    let mut beginning = Vec::new();
    put_integer(&mut beginning, CONTROL);
    beginning.extend(frame(frames::SETTINGS, &settings));
    stream.write_all(&beginning).await?;
    while let Some(id) = goaways.recv().await {
        let mut payload = Vec::new();
        put_integer(&mut payload, id);
        stream.write_all(&frame(frames::GOAWAY, &payload)).await?;
    }
    // It is open for as long as the connection (RFC 9114 §6.2.1).
    connection.closed().await;
    Ok(())
}

/// Reads a stream that the client opened in one direction.
pub(super) fn accept(stream: RecvStream, state: Rc<ConnectionState>) {
    let reader = FrameReader::new(stream, state);
    drop(tokio::task::spawn_local(async move {
        if let Err(error) = listen(reader).await {
            tracing::debug!(error = causes(&error), "a stream in one direction ended early");
        }
    }));
}

async fn listen(mut reader: FrameReader) -> Result<(), Http3Error> {
    let state = Rc::clone(reader.state());
    let kind = match poll_fn(|cx| reader.poll_integer(cx)).await {
        Ok(Some(kind)) => kind,
        // It is of no use either, whatever its type was to be.
        ended => {
            state.spend()?;
            return ended.map(drop);
        }
    };
    let critical = match kind {
        CONTROL | ENCODER | DECODER => {
            if !state.begin(kind) {
                let rule = "a client may open only one stream of each kind";
                return Err(state.fail(Code::StreamCreation, rule));
            }
            let ended = match kind {
                CONTROL => control(&mut reader, &state).await,
                ENCODER => encoder(&mut reader, &state).await,
                _ => decoder(&mut reader, &state).await,
            };
            match ended {
                Err(error @ (Http3Error::Broken { .. } | Http3Error::Connection(_))) => {
                    return Err(error);
                }
                Ok(()) | Err(Http3Error::Reset { .. } | Http3Error::Closed) => true,
            }
        }
        PUSH => {
            return Err(state.fail(Code::StreamCreation, "clients push nothing"));
        }
        _ => {
            state.spend()?;
            reader.stop(Code::StreamCreation);
            false
        }
    };
    if critical {
        let rule = "a stream that a connection needs does not end before it";
        return Err(state.fail(Code::ClosedCriticalStream, rule));
    }
    Ok(())
}

/// Reads the client's control stream to its end.
async fn control(reader: &mut FrameReader, state: &ConnectionState) -> Result<(), Http3Error> {
    let (mut first, mut pushes) = (true, PushIds::default());
    while let Some(head) = poll_fn(|cx| reader.poll_head(cx)).await? {
        let FrameHead { kind, length } = head;
        if std::mem::take(&mut first) && kind != frames::SETTINGS {
            let rule = "a control stream begins with settings";
            return Err(state.fail(Code::MissingSettings, rule));
        } else if kind != frames::SETTINGS || pushes.settings {
            state.spend()?;
        }
        match kind {
            frames::SETTINGS | frames::GOAWAY | frames::MAX_PUSH_ID | frames::CANCEL_PUSH => {
                if length > CONTROL_BYTES_MAX {
                    return Err(state.fail(Code::ExcessiveLoad, "a frame of control is short"));
                }
                let mut payload = BytesMut::new();
                poll_fn(|cx| reader.poll_whole(&mut payload, cx)).await?;
                pushes
                    .take(kind, payload.freeze())
                    .map_err(|(code, rule)| state.fail(code, rule))?;
            }
            frames::DATA | frames::HEADERS | frames::PUSH_PROMISE => {
                let rule = "a frame stands where its type has no place";
                return Err(state.fail(Code::FrameUnexpected, rule));
            }
            kind if frames::OF_HTTP2.contains(&kind) => {
                let rule = "a frame of HTTP/2 has no place here";
                return Err(state.fail(Code::FrameUnexpected, rule));
            }
            _ => poll_fn(|cx| reader.poll_skip(cx)).await?,
        }
    }
    Ok(())
}

/// What frames of control said about pushes, which we never send.
#[derive(Debug, Default)]
struct PushIds {
    /// The settings came.
    settings: bool,
    /// The highest that may be used.
    most: Option<u64>,
    /// The lowest that is not accepted.
    goaway: Option<u64>,
}

impl PushIds {
    /// Checks the payload of a frame that has one.
    fn take(&mut self, kind: u64, payload: Bytes) -> Result<(), (Code, &'static str)> {
        if kind == frames::SETTINGS {
            if std::mem::replace(&mut self.settings, true) {
                return Err((Code::FrameUnexpected, "settings come once"));
            }
            return settings(payload);
        }
        let mut rest = payload;
        let id = take_integer(&mut rest).filter(|_| rest.is_empty());
        let id = id.ok_or((Code::Frame, "the frame has one id"))?;
        match kind {
            frames::GOAWAY => {
                if self.goaway.replace(id).is_some_and(|before| before < id) {
                    return Err((Code::Id, "the id of a GOAWAY does not rise"));
                }
            }
            frames::MAX_PUSH_ID => {
                if self.most.replace(id).is_some_and(|before| before > id) {
                    return Err((Code::Id, "the highest id of a push does not fall"));
                }
            }
            _ => return Err((Code::Id, "no push was promised")),
        }
        Ok(())
    }
}

/// Checks settings; none of them changes what we send.
fn settings(mut rest: Bytes) -> Result<(), (Code, &'static str)> {
    let mut known = Vec::new();
    while !rest.is_empty() {
        let pair = take_integer(&mut rest).and_then(|id| Some((id, take_integer(&mut rest)?)));
        let (id, value) = pair.ok_or((Code::Frame, "a setting has a value"))?;
        if OF_HTTP2.contains(&id) || known.contains(&id) {
            return Err((Code::Settings, "a setting comes once, and is not one of HTTP/2"));
        }
        if id == ENABLE_CONNECT_PROTOCOL && value > 1 {
            return Err((Code::Settings, "a setting that is on or off is 0 or 1"));
        }
        known.push(id);
    }
    Ok(())
}

fn take_integer(rest: &mut Bytes) -> Option<u64> {
    let length = 1_usize << (rest.first()? >> 6);
    let value = frames::integer(rest.get(..length)?);
    rest.advance(length);
    value
}

/// Reads the client's encoder stream: our table has no room, so it may say no more than that its capacity is 0.
async fn encoder(reader: &mut FrameReader, state: &ConnectionState) -> Result<(), Http3Error> {
    const CAPACITY_0: u8 = 0x20;
    while let Some(octet) = poll_fn(|cx| reader.poll_octet(cx)).await? {
        if octet != CAPACITY_0 {
            return Err(state.fail(Code::EncoderStream, "our dynamic table has no room"));
        }
        state.spend()?;
    }
    Ok(())
}

/// Reads the client's decoder stream: our sections refer to nothing, so it may say no more than that it reads a stream no
/// longer.
async fn decoder(reader: &mut FrameReader, state: &ConnectionState) -> Result<(), Http3Error> {
    const PREFIX_MAX: u8 = 0x3f;
    let mut in_integer = false;
    while let Some(octet) = poll_fn(|cx| reader.poll_octet(cx)).await? {
        if in_integer {
            in_integer = octet & 0x80 != 0;
            state.spend()?;
            continue;
        }
        if octet & 0xc0 != 0x40 {
            return Err(state.fail(Code::DecoderStream, "no section refers to a dynamic table"));
        }
        in_integer = octet & PREFIX_MAX == PREFIX_MAX;
        state.spend()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(integers: &[u64]) -> Bytes {
        let mut out = Vec::new();
        integers.iter().for_each(|value| put_integer(&mut out, *value));
        out.into()
    }

    #[test]
    fn settings_come_once_and_are_not_those_of_http2() {
        let of = |integers: &[u64]| settings(payload(integers)).map_err(|(code, _)| code);
        assert_eq!(of(&[]), Ok(()));
        assert_eq!(of(&[0x1, 4096, 0x6, 1 << 40, 0x7, 16, 0x21, 9]), Ok(()));
        assert_eq!(of(&[0x8, 1]), Ok(()));
        assert_eq!(of(&[0x8, 2]), Err(Code::Settings));
        assert_eq!(of(&[0x6, 1, 0x6, 1]), Err(Code::Settings));
        assert_eq!(of(&[0x3, 100]), Err(Code::Settings));
        assert_eq!(of(&[0x6]), Err(Code::Frame));
    }

    #[test]
    fn ids_move_in_one_direction() {
        for (frames, outcome) in [
            (&[(frames::GOAWAY, 8), (frames::GOAWAY, 4)][..], Ok(())),
            (&[(frames::GOAWAY, 4), (frames::GOAWAY, 8)], Err(Code::Id)),
            (&[(frames::MAX_PUSH_ID, 4), (frames::MAX_PUSH_ID, 8)], Ok(())),
            (&[(frames::MAX_PUSH_ID, 8), (frames::MAX_PUSH_ID, 4)], Err(Code::Id)),
            (&[(frames::CANCEL_PUSH, 0)], Err(Code::Id)),
        ] {
            let mut ids = PushIds::default();
            let taken = frames.iter().try_for_each(|(kind, id)| ids.take(*kind, payload(&[*id])));
            assert_eq!(taken.map_err(|(code, _)| code), outcome, "{frames:?}");
        }
        let two = PushIds::default().take(frames::GOAWAY, payload(&[1, 2]));
        assert_eq!(two.map_err(|(code, _)| code), Err(Code::Frame));
    }
}
