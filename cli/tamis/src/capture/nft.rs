//! Runs `nft`, and says what to do where it cannot.

use super::rules::TABLE;
use anyhow::{Context as _, Result, bail};
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Output, Stdio};

/// Where it is if the folder of programs for administrators is not searched.
const PROGRAMS: [&str; 2] = ["nft", "/usr/sbin/nft"];

/// Puts a ruleset in force: all of it or nothing.
///
/// # Errors
/// `nft` is missing, may not change rules, or refuses the ruleset.
pub(super) fn apply(ruleset: &str) -> Result<()> {
    let said = nft(&["-f", "-"], ruleset)?;
    if said.status.success() {
        return Ok(());
    }
    bail!("{}", refused(&String::from_utf8_lossy(&said.stderr)))
}

/// The rules of ours that are in force; `None`: there are none.
///
/// # Errors
/// As [`apply`].
pub(super) fn installed() -> Result<Option<String>> {
    let said = nft(&["list", "table", "inet", TABLE], "")?;
    let problem = String::from_utf8_lossy(&said.stderr);
    match said.status.success() {
        true => Ok(Some(String::from_utf8_lossy(&said.stdout).into_owned())),
        false if problem.contains("No such file or directory") => Ok(None),
        false => bail!("{}", refused(&problem)),
    }
}

fn nft(arguments: &[&str], input: &str) -> Result<Output> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot run {program}")),
        };
        if let Some(mut to) = child.stdin.take() {
            // A program that ends before it has read its input reports why itself.
            let _ended = to.write_all(input.as_bytes());
        }
        return child.wait_with_output().with_context(|| format!("cannot run {program}"));
    }
    bail!("nft is not installed: install the Debian package nftables (`apt-get install nftables`)")
}

/// What a failure means and the way out.
pub(super) fn refused(said: &str) -> String {
    let first = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason");
    if said.contains("Operation not permitted") || said.contains("you must be root") {
        return "this user may not change the rules of this network namespace: run the command as root, or with CAP_NET_ADMIN"
            .to_owned();
    }
    format!(
        "nft refused the rules, and nothing was changed: {first}; the kernel needs nf_tables with nat, redir, fib and conntrack"
    )
}
