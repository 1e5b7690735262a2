//! Programs of PyPI that tests use as peers, each set in an environment of its own below `target/tools`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::{Workspace, shell};

/// The environment of this name with these packages, each pinned to a version; installed if it is not there.
#[must_use]
pub fn python_environment(name: &str, packages: &[&str]) -> PathBuf {
    // Tests begin at the same time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let environment = Workspace::load().unwrap().tools().join(name);
    let (stamp, pins) = (environment.join("installed"), packages.join("\n"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) {
        return environment;
    }
    let mut venv = shell::command("python3");
    shell::read(venv.args(["-m", "venv", "--clear"]).arg(&environment)).unwrap();
    let mut pip = shell::command(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
    shell::read(&mut pip).unwrap();
    std::fs::write(stamp, pins).unwrap();
    environment
}
