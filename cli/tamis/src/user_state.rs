//! Where this user's own state is: what belongs to the person at this machine and travels with no folder.

use anyhow::{Context as _, Result};
use std::env;
use std::path::PathBuf;

/// `$XDG_STATE_HOME/tamis`, or `~/.local/state/tamis` (XDG Base Directory Specification 0.8). May not exist yet.
///
/// # Errors
/// When the environment names neither.
pub(crate) fn folder() -> Result<PathBuf> {
    let absolute = |name: &str| {
        // The specification has relative paths ignored.
        env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .context("neither XDG_STATE_HOME nor HOME says where this user's state is; set one")?;
    Ok(state.join("tamis"))
}
