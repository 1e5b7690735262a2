//! Files and folders of one user alone: configurations with keys, requests with tokens, machine code that is run.
//!
//! What this process reads back decides what it does, and a place shows neither who filled it nor who can fill it again.
//! So a place counts only when it belongs to the user of this process, and nothing is written through a name that somebody
//! else has made. What is created is readable by its owner alone, whatever the umask; what others can read is closed to
//! them.
//!
//! * [`folder()`], [`narrow`]: a folder with secrets, and what was in it before.
//! * [`trusted_folder`]: one whose content is believed, with everything above it.
//! * [`file()`], [`put`], [`put_first`], [`put_readable`], [`appended`]: files that are written from their beginning, replaced,
//!   and extended.
//! * [`open_regular`], [`read_regular`]: files that somebody names, whatever else has that name.
//! * [`open_existing`], [`create_new`], [`is_ours`]: the parts of a reader that checks what it has opened.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod file;
mod folder;
mod owner;
mod regular;

pub use file::{appended, create_new, file, open_existing, put, put_first, put_readable};
pub use folder::{folder, narrow, trusted_folder};
pub use owner::{OTHERS, OTHERS_WRITE, effective_user, is_ours};
pub use regular::{open_regular, read_regular};
