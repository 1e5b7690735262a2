//! The state folder of the user: what belongs to one person on one machine and is not copied with a folder.

use anyhow::{Context as _, Result};
use std::env;
use std::path::PathBuf;

/// `$XDG_STATE_HOME/tamis`, or `~/.local/state/tamis` (XDG Base Directory Specification 0.8). It may not
/// exist yet.
///
/// # Errors
/// The environment sets neither variable.
pub(crate) fn folder() -> Result<PathBuf> {
    let absolute = |name: &str| {
        // The specification says that relative paths are ignored.
        env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .context("neither XDG_STATE_HOME nor HOME is set, so there is no folder for this user's state; set one")?;
    Ok(state.join("tamis"))
}
