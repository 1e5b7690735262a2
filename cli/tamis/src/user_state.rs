//! The state folder of the user: what belongs to one person on one machine and is not copied with a folder.

use anyhow::{Context as _, Result};
use std::env;
use std::path::PathBuf;
use tamis_engine::{Cache, CacheFolders, Engine};

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

/// The code that this user's commands compiled; proxies look there for what is not in their own cache.
const CODE: &str = "code";
/// What is kept of it.
const CODE_MAX_BYTES: u64 = 1 << 30;
/// Larger components take long to compile: they are left to the proxies that run them.
const COMPONENT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Where [`keep_compiled`] writes, once it has written anything.
pub(crate) fn code() -> Option<PathBuf> {
    folder().ok().map(|state| state.join(CODE)).filter(|code| code.is_dir())
}

/// Compiles a component that this user has built, signed or pulled, so that a proxy of this user finds its code.
/// It runs nothing of it, and a proxy verifies the signatures before it looks for code. A failure costs
/// the next start of a proxy some time, and nothing else.
pub(crate) fn keep_compiled(component: &[u8]) {
    if component.len() > COMPONENT_MAX_BYTES {
        return;
    }
    let kept = || -> Result<()> {
        let state = folder()?;
        let folders = CacheFolders { code: &state.join(CODE), state: &state, also: None };
        let cache = Cache::open(folders)?;
        Engine::new()?.compile(component, Some(&cache.at_most(CODE_MAX_BYTES)))?;
        Ok(())
    };
    if let Err(error) = kept() {
        tracing::debug!("compiled code is not kept: {error:#}");
    }
}
