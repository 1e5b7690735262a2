//! The director's plan in the folder, and when its last message arrived.

use std::io;

use tamis_private::read_regular;
use tamis_sync::HeldParts;

use super::{MAX_BYTES, StateFolder};
use crate::documents::octets;

const PARTS: &str = "parts.json";
const LAST_MESSAGE: &str = "heard";
/// It has a number of seconds.
const LAST_MESSAGE_MAX: u64 = 64;

impl StateFolder {
    /// The last plan. Damaged parts, or all of it, are left out and reported.
    pub(crate) fn held_parts(&self) -> HeldParts {
        let path = self.root.join(PARTS);
        if !path.exists() {
            return HeldParts::new();
        }
        let read = octets(&path, MAX_BYTES)
            .and_then(|bytes| HeldParts::from_json(&bytes).map_err(|error| error.to_string()));
        match read {
            Ok((held, damaged)) => {
                for part in damaged {
                    tracing::warn!(path = %path.display(), part, "a part is damaged and left out");
                }
                held
            }
            Err(why) => {
                tracing::warn!(path = %path.display(), why, "the stored parts cannot be read");
                HeldParts::new()
            }
        }
    }

    pub(crate) fn keep_parts(&self, held: &HeldParts) -> io::Result<()> {
        let bytes = held.to_json().map_err(io::Error::other)?;
        self.write(&self.root.join(PARTS), &bytes)
    }

    /// When the last message of the director arrived, in seconds since the Unix epoch; 0: never.
    pub(crate) fn last_message(&self) -> u64 {
        let octets = read_regular(&self.root.join(LAST_MESSAGE), LAST_MESSAGE_MAX);
        let text = octets.ok().and_then(|octets| String::from_utf8(octets).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    pub(crate) fn keep_last_message(&self, seconds: u64) -> io::Result<()> {
        self.write(&self.root.join(LAST_MESSAGE), seconds.to_string().as_bytes())
    }
}
