//! What both ends of an HTTP/2 connection do with the `h2` crate: content on its streams, pings, and clients that
//! take nothing of a response or send nothing of a request.

mod content;
mod keep_alive;
mod reader;
mod send;
mod upload_pace;

pub use content::ReceivedContent;
pub(crate) use content::are_within_bounds;
pub use keep_alive::{KeepAlive, PingTimes};
pub use reader::ServedBody;
pub(crate) use reader::{LOOK, PlainBody, ReaderWatch, TAKEN_MIN, may_wait};
pub(crate) use send::{Piece, gives_up, poll_piece, poll_room, send_response};
pub use send::{SendContentError, send_content};
pub use upload_pace::UploadPace;
