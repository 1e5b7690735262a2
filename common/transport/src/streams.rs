//! What both ends of an HTTP/2 connection do with the `h2` crate: content on its streams, and pings.

mod content;
mod keep_alive;
mod send;

pub use content::ReceivedContent;
pub use keep_alive::{KeepAlive, PingTimes};
pub(crate) use send::poll_room;
pub use send::{SendContentError, send_content};
