//! The state folder of the user: what belongs to one person on one machine and is not copied with a folder.

use anyhow::{Context as _, Result};
use std::cmp::Reverse;
use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tamis_ambient::{Clock, Random};
use tamis_engine::{Cache, CacheFolders, Engine};
use tamis_node::NodeResources;

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
/// Most threads that compile at once: each needs some hundred megabytes for a large component.
const THREADS_MAX: usize = 8;

/// Where [`keep_compiled`] writes, once it has written anything.
pub(crate) fn code() -> Option<PathBuf> {
    folder().ok().map(|state| state.join(CODE)).filter(|code| code.is_dir())
}

/// Compiles a component that this user has built, signed or pulled, so that a proxy of this user finds its code.
/// It runs nothing of it, and a proxy verifies the signatures before it looks for code. A failure costs
/// the next start of a proxy some time, and nothing else.
pub(crate) fn keep_compiled(component: &[u8]) {
    keep_all_compiled(&[component]);
}

/// The same for several components, on several threads.
pub(crate) fn keep_all_compiled(components: &[&[u8]]) {
    let mut left: Vec<&[u8]> = components.to_vec();
    left.retain(|one| one.len() <= COMPONENT_MAX_BYTES);
    if left.is_empty() {
        return;
    }
    // The largest, which takes longest, first.
    left.sort_by_key(|one| Reverse(one.len()));
    let there = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = there.min(THREADS_MAX).min(left.len());
    let kept = || -> Result<()> {
        let (engine, cache) = (Engine::new()?, code_cache(&folder()?)?);
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(component) = left.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = engine.compile(component, Some(&cache)) {
                    tracing::debug!("a component is not compiled: {error}");
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                let thread = std::thread::Builder::new().name("tamis-compile".to_owned());
                // Without another thread this one compiles everything.
                let _ = thread.spawn_scoped(scope, work);
            }
            work();
        });
        Ok(())
    };
    if let Err(error) = kept() {
        tracing::debug!("compiled code is not kept: {error:#}");
    }
}

/// What a node of this user's commands has, with that cache where there can be one.
///
/// # Errors
/// The engine cannot run here.
pub(crate) fn node_resources() -> Result<NodeResources> {
    let cached = folder().and_then(|state| {
        let folders = CacheFolders { code: &state.join(CODE), state: &state, also: None };
        Ok(NodeResources::new(Some(folders), Clock::system(), Random::system())?)
    });
    cached.or_else(|error| {
        tracing::debug!("compiled code is not kept: {error:#}");
        Ok(NodeResources::new(None, Clock::system(), Random::system())?)
    })
}

/// The cache of the code that this user's commands compile; `None` where there can be none, which costs time and nothing else.
pub(crate) fn own_code() -> Option<Cache> {
    code_cache(&folder().ok()?).ok()
}

fn code_cache(state: &Path) -> Result<Cache> {
    let folders = CacheFolders { code: &state.join(CODE), state, also: None };
    Ok(Cache::open(folders)?.at_most(CODE_MAX_BYTES))
}
