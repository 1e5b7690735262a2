//! Debian packages that building, testing and measuring need.

use anyhow::{Result, bail};

use crate::shell;

/// Installs those of `packages` that are missing, each with the reason it is needed for.
///
/// # Errors
/// When some are missing and cannot be installed by this user.
pub fn install(packages: &[(&str, &str)]) -> Result<()> {
    if !shell::exists("dpkg-query") {
        return Ok(());
    }
    let missing: Vec<_> = packages.iter().filter(|(name, _)| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (name, reason) in &missing {
        println!("    missing Debian package {name}: {reason}");
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    let by_hand = format!("apt-get update && apt-get install -y {}", names.join(" "));
    let Some(apt) = privileged_apt() else {
        bail!("packages are missing and this user may not install them; run as root: {by_hand}");
    };
    apt_get(&apt, &["update", "-qq"])?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    apt_get(&apt, &[&install[..], &names].concat())
}

/// Whether dpkg holds the package, configured.
fn installed(name: &str) -> bool {
    let mut ask = shell::command("dpkg-query");
    ask.args(["-W", "-f", "${db:Status-Status}", name]);
    shell::read(&mut ask).is_ok_and(|status| status == "installed")
}

/// `apt-get`, behind sudo unless this is root; none when neither works without a question.
fn privileged_apt() -> Option<Vec<&'static str>> {
    let root = shell::read(shell::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if root {
        return Some(vec!["apt-get"]);
    }
    let sudo = shell::capture(shell::command("sudo").args(["-n", "true"]));
    sudo.is_ok_and(|output| output.status.success()).then(|| vec!["sudo", "-n", "apt-get"])
}

fn apt_get(apt: &[&str], arguments: &[&str]) -> Result<()> {
    let [program, first @ ..] = apt else { bail!("no apt-get to run") };
    let mut command = shell::command(program);
    command.args(first).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    shell::read(&mut command).map(drop)
}
