//! Files that a person names, or that a folder contains: the one place of this crate that reads files.
//!
//! Only regular files are read, of bounded length: a device has no end, and a pipe that nobody writes to waits for ever.

use std::fs::File;
use std::io;
use std::path::Path;
use tamis_resources::MAX_COMPONENT_BYTES;

/// Octets of a text at most: as many as of a file of documents.
const TEXT_MAX: u64 = 16 << 20;

/// Opens a file that is read in parts.
pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<File> {
    tamis_private::open_regular(path.as_ref())
}

/// Reads a file of octets that are no component.
pub(crate) fn octets(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    up_to(path, TEXT_MAX)
}

/// Reads a text.
pub(crate) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(octets(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 at byte {at}"))
    })
}

/// Reads a component.
pub(crate) fn component(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    up_to(path, MAX_COMPONENT_BYTES)
}

/// Reads a file of at most so many octets.
pub(crate) fn up_to(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    tamis_private::read_regular(path.as_ref(), most)
}
