//! What both sides of HTTP/1 read and write messages with: content, fields and their names, what waits to be written, and the
//! memory that heads use again. Nothing here knows whether a message is a request or a response.

pub(crate) mod content;
pub(crate) mod field;
pub(crate) mod field_names;
pub(crate) mod outbox;
pub(crate) mod spare;
