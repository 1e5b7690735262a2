//! `cargo xtask deny`: the rules of `deny.toml`.
//!
//! Licences, sources and bans are checked with local data. Advisories come from a database on the network:
//! if it cannot be fetched, that check is skipped with a message.

use anyhow::{Context as _, Result, bail};

use crate::setup::deny_tool;
use crate::shell;

/// Checks bans, licences and sources, then advisories.
pub(crate) fn run() -> Result<()> {
    deny_tool::install()?;
    let tool = deny_tool::find()?.context("cargo-deny is missing; run: cargo xtask setup")?;
    let deny = || {
        let mut deny = shell::command(&tool);
        deny.args([
            "--workspace",
            "--all-features",
            "--color",
            "never",
            "check",
            "--hide-inclusion-graph",
        ]);
        deny
    };
    shell::run(deny().args(["bans", "licenses", "sources"]))?;
    let output = shell::capture(deny().arg("advisories"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        println!("advisories ok");
    } else if database_is_missing(&report) {
        println!("advisories not checked: their database could not be fetched from the network");
    } else {
        print!("{report}");
        bail!("the advisories were checked and did not pass; see above");
    }
    Ok(())
}

/// Whether the check ended before it could look at a single crate.
fn database_is_missing(report: &str) -> bool {
    let judged = report.contains("error[") || report.contains("advisories FAILED");
    !judged && report.contains("failed to fetch advisory database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_network_is_told_from_an_advisory() {
        assert!(database_is_missing(
            "[ERROR] failed to fetch advisory database https://one.example"
        ));
        assert!(!database_is_missing("error[vulnerability]: memory exhaustion\nadvisories FAILED"));
        assert!(!database_is_missing("[ERROR] deny.toml is not readable"));
    }
}
