//! A body of 1 GiB up and down: every byte arrives, and the gateway does not store it.

use anyhow::Result;
use serde_json::json;

use super::gateway::{Gateway, Way};
use super::{Outcome, listening, peer};
use tamis_harness::shell;

const BYTES: u64 = 1 << 30;
/// What the gateway may grow by while it passes; windows and buffers of two connections.
const GROWTH_KIB: u64 = 32 * 1024;

pub(super) fn run() -> Result<Vec<Outcome>> {
    let peer = peer()?;
    let (_backend, address) = listening(shell::command(&peer).arg("sink"))?;
    let gateway = Gateway::start(&address, Way::Http1)?;
    let push = |bytes: u64| {
        let mut command = shell::command(&peer);
        command.args(["push", &gateway.http, "/", &bytes.to_string()]);
        shell::read(&mut command)
    };
    // A small body first, so that everything that each exchange needs is allocated.
    push(1 << 20)?;
    let before = gateway.peak_kib()?;
    let done = push(BYTES);
    let after = gateway.peak_kib()?;
    let growth = after.saturating_sub(before);
    let whole = done.is_ok();
    let why = done.err().map(|error| format!("{error:#}")).unwrap_or_default();
    Ok(vec![Outcome {
        name: "gibibyte",
        said: format!(
            "1 GiB up and down {}; peak memory grew by {growth} KiB{why}",
            if whole { "whole" } else { "NOT whole" }
        ),
        passed: whole && growth <= GROWTH_KIB,
        details: json!({ "beforeKiB": before, "afterKiB": after }),
    }])
}
