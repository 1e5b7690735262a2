//! The transparency log, checked by an independent tool: tessera's fsck fetches every tile and entry over
//! HTTP, builds the tree again and compares it with the signed checkpoint.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::registry::{Registry, Way};
use super::{Outcome, go_program};
use tamis_harness::Workspace;
use tamis_harness::shell;

const PACKAGE: &str = "github.com/transparency-dev/tessera/cmd/fsck";
const VERSION: &str = "v1.0.4";
/// More than a tile has, so that full tiles, partial ones and a second level are fetched.
const ENTRIES: usize = 300;

pub(super) fn run() -> Result<Vec<Outcome>> {
    let fsck = go_program(PACKAGE, VERSION)?;
    let registry = Registry::start(Way::Clear)?;
    let workspace = Workspace::load()?;
    for number in 0..ENTRIES {
        let mut command = shell::command(workspace.target_directory.join("debug/tamis"));
        command
            // Each revocation is an entry of its own, and nothing runs that it could stop.
            .args(["revoke", "digest", &format!("sha256:{number:064x}"), "--reason", "fsck"])
            .env("TAMIS_REGISTRY", format!("http://{}", registry.address))
            .env("TAMIS_TOKEN", &registry.token);
        shell::read(&mut command)?;
    }
    let mut command = shell::command(fsck);
    command
        .args(["--storage_url", &format!("http://{}/log/", registry.address)])
        .arg("--public_key")
        .arg(registry.data().join("log.pub"))
        .args(["--bearer_token", &registry.token, "--ui=false"]);
    let output = shell::capture(&mut command)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let size = size(&told).with_context(|| format!("fsck checked no log: {told}"))?;
    Ok(vec![Outcome {
        name: "log",
        said: format!("tessera fsck {VERSION} rebuilt a log of {size} entries"),
        passed: output.status.success() && size >= ENTRIES,
        details: json!({ "version": VERSION, "said": told }),
    }])
}

/// The size of the log that was checked and found good.
fn size(told: &str) -> Option<usize> {
    let (_, rest) = told.split_once("Successfully fsck'd log with size ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_was_found_good_has_a_size() {
        assert_eq!(
            size("I1 fsck.go:1] Successfully fsck'd log with size 363 and root BR+4"),
            Some(363)
        );
        assert_eq!(size("I1 fsck.go:1] Fsck: checking log of size 363"), None);
    }
}
