//! The start of a proxy that joins: what is tried before its token is sent, and what happens if it cannot start afterwards.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tamis_ambient::Random;
use tamis_node::{FollowedNode, Node, NodeError, NodeOptions, WantedAddress, causes};
use tamis_sync::Backoff;
use tamis_transport::handover::Predecessor;
use tamis_trust::DirectorKeys;

use crate::output;

/// Wait after the first start that failed, at most.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest wait between two starts.
const AGAIN_MAX: Duration = Duration::from_secs(15);

/// What a proxy that follows a director reads from files.
pub(super) struct FollowFiles {
    pub(super) director: String,
    pub(super) state: PathBuf,
    pub(super) keys: DirectorKeys,
    pub(super) policy_root: Option<Vec<u8>>,
}

/// Tries what a proxy needs of this machine and its folders, without an identity. Addresses are not tried while a
/// predecessor has them.
///
/// # Errors
/// As at a start.
pub(super) fn rehearse(
    options: &NodeOptions,
    files: Option<&FollowFiles>,
    predecessor: Option<&Predecessor>,
) -> Result<()> {
    let mut wanted = match files {
        Some(files) => FollowedNode::rehearse(&files.state, files.policy_root.as_deref())?,
        None => Node::rehearse(options)?,
    };
    wanted.extend(options.proxy.admin.clone().map(WantedAddress::admin));
    if predecessor.is_none() {
        wanted.iter().try_for_each(WantedAddress::try_open)?;
    }
    Ok(())
}

/// Starts a proxy. One that joined tries again, without an end, when it cannot start: its key ends with this process, so
/// another one would need another token.
///
/// # Errors
/// Why a proxy that did not join does not start.
pub(super) fn until_started<T>(
    options: &NodeOptions,
    has_joined: bool,
    start: impl Fn() -> Result<T, NodeError>,
) -> Result<T, NodeError> {
    let (random, mut backoff) = (Random::system(), Backoff::new(AGAIN, AGAIN_MAX));
    let mut told = String::new();
    loop {
        let error = match start() {
            Err(error) if has_joined => error,
            done => return done,
        };
        let why = causes(&error);
        if why != told {
            output::note(&format!(
                "{} does not start: {why}; it has joined and tries again: correct this, or end it and make a new token",
                options.name
            ));
            told = why;
        }
        std::thread::sleep(backoff.next(random.number(), None));
    }
}
