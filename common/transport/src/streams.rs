//! What both ends of an HTTP/2 connection do with the `h2` crate: content on its streams, pings, and clients that
//! take nothing of a response or send nothing of a request.

mod content;
mod keep_alive;
mod reader;
mod send;
mod upload_pace;

pub use content::ReceivedContent;
pub use keep_alive::{KeepAlive, PingTimes};
pub use reader::ServedBody;
pub(crate) use reader::{PlainBody, ReaderWatch, may_wait};
pub use send::{SendContentError, send_content};
pub(crate) use send::{poll_room, send_response};
pub use upload_pace::UploadPace;
