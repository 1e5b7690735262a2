//! The folder through which processes of one user find each other: one socket for requests to a proxy, one
//! to take over from it.

use anyhow::{Context as _, Result, bail};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tamis_resources::NodeName;

/// The longest path of a unix socket (unix(7): 108 bytes with the zero that ends it).
const PATH_MAX: usize = 107;
/// Endings of the sockets: one serves the admin listener's pages, one hands over listening sockets.
const ADMIN: &str = "admin";
const GIVE: &str = "give";

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct RunFolder(PathBuf);

impl RunFolder {
    /// Opens the folder, readable by its owner only: the given one, or the user's own.
    pub(crate) fn open(given: Option<&Path>) -> Result<Self> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => usual(|name| std::env::var_os(name).map(PathBuf::from))
                .context("there is no run folder: neither XDG_RUNTIME_DIR nor HOME is set; give --run-folder")?,
        };
        tamis_private::folder(&path)
            .with_context(|| format!("the run folder {} cannot be used", path.display()))?;
        let path = path.canonicalize().unwrap_or(path);
        // The longest possible name: a sidecar's, its process id, and an ending.
        if path.as_os_str().len() + 1 > PATH_MAX {
            bail!(
                "the path of the run folder {} is too long for sockets; give another with --run-folder",
                path.display()
            );
        }
        Ok(Self(path))
    }

    /// Socket at which this process serves requests to a proxy.
    pub(crate) fn admin(&self, name: &NodeName) -> PathBuf {
        self.socket(name, std::process::id(), ADMIN)
    }

    /// Socket at which this process hands over the sockets of a proxy.
    pub(crate) fn give(&self, name: &NodeName) -> PathBuf {
        self.socket(name, std::process::id(), GIVE)
    }

    /// Removes the sockets of processes that ran a proxy and were killed.
    pub(crate) fn tidy_ended(&self, name: &NodeName) {
        // Whatever stays is removed by the next that looks.
        let _ = self.there(name, ADMIN);
    }

    /// Removes the sockets of this process.
    pub(crate) fn tidy(&self, name: &NodeName) {
        for path in [self.admin(name), self.give(name)] {
            // A socket that stays has no listener; the next process that tries it removes it.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Socket of the process that runs a proxy; of the process with that id if one is given.
    pub(crate) fn ask(&self, name: &NodeName, process: Option<u32>) -> Result<PathBuf> {
        let mut all = self.there(name, ADMIN)?;
        all.retain(|(one, _)| process.is_none_or(|wanted| wanted == *one));
        match all.as_slice() {
            [(_, path)] => Ok(path.clone()),
            [] => bail!(
                "no process of this user runs {name} here ({}); give the address of its admin listener with --admin",
                self.0.display()
            ),
            several => {
                let numbers: Vec<_> = several.iter().map(|(one, _)| one.to_string()).collect();
                bail!("several processes run {name}; choose one with --pid: {}", numbers.join(", "))
            }
        }
    }

    /// Socket at which a process hands over the sockets of a proxy; `None`: no process runs it.
    pub(crate) fn giver(&self, name: &NodeName) -> Result<Option<PathBuf>> {
        let all = self.there(name, GIVE)?;
        let running = self.there(name, ADMIN)?;
        // That socket cannot be tried by connecting, so the admin socket shows whether its process lives.
        let mut all = all.into_iter().filter(|(one, _)| running.iter().any(|(it, _)| it == one));
        match (all.next(), all.next()) {
            (first, None) => Ok(first.map(|(_, path)| path)),
            _ => bail!(
                "several processes run {name}, and only one can hand over its sockets: end all but one, or give each a \
                 --run-folder of its own"
            ),
        }
    }

    fn socket(&self, name: &NodeName, process: u32, ending: &str) -> PathBuf {
        self.0.join(format!("{}{process}.{ending}", prefix(name)))
    }

    /// Sockets of this user for a proxy with that ending, by process id; those without a listener are removed.
    fn there(&self, name: &NodeName, ending: &str) -> Result<Vec<(u32, PathBuf)>> {
        let prefix = prefix(name);
        let entries = std::fs::read_dir(&self.0)
            .with_context(|| format!("{} cannot be read", self.0.display()))?;
        let user = tamis_private::effective_user().context("the run folder cannot be used")?;
        let mut there = Vec::new();
        for entry in entries.flatten() {
            let file = entry.file_name();
            let number = file.to_str().and_then(|file| file.strip_prefix(&prefix));
            let number = number.and_then(|rest| rest.strip_suffix(ending)?.strip_suffix('.'));
            let Some(process) = number.and_then(|number| number.parse().ok()) else { continue };
            // Somebody else may have put it there before the folder was closed to others.
            if !entry.metadata().is_ok_and(|found| found.uid() == user) {
                continue;
            }
            let path = entry.path();
            let gone = ending == ADMIN
                && UnixStream::connect(&path)
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
            if gone {
                let _ = std::fs::remove_file(&path);
                let _ = std::fs::remove_file(self.socket(name, process, GIVE));
            } else {
                there.push((process, path));
            }
        }
        there.sort();
        Ok(there)
    }
}

/// The prefix of the names of a proxy's sockets. Names of documents contain no `+`.
fn prefix(name: &NodeName) -> String {
    format!("{}.", name.to_string().replace([':', '/'], "+"))
}

/// The user's own folder for runtime files (XDG Base Directory Specification), or else for state.
fn usual(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    if let Some(runtime) = absolute("XDG_RUNTIME_DIR") {
        return Some(runtime.join("tamis"));
    }
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("tamis/run"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use tempfile::TempDir;

    #[test]
    fn the_run_folder_is_the_users_own() {
        for (variables, path) in [
            (
                &[("XDG_RUNTIME_DIR", "/run/user/1"), ("HOME", "/home/a")][..],
                Some("/run/user/1/tamis"),
            ),
            (
                &[("XDG_RUNTIME_DIR", "relative"), ("HOME", "/home/a")],
                Some("/home/a/.local/state/tamis/run"),
            ),
            (&[("XDG_STATE_HOME", "/state")], Some("/state/tamis/run")),
            (&[], None),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(usual(variable), path.map(PathBuf::from), "{variables:?}");
        }
    }

    #[test]
    fn a_process_is_found_by_the_proxy_it_runs_and_one_that_ended_is_not() {
        let folder = TempDir::new().unwrap();
        let run = RunFolder::open(Some(&folder.path().join("run"))).unwrap();
        let name: NodeName = "sidecar:shop/pay/0".parse().unwrap();
        let other: NodeName = "sidecar:shop/pay/1".parse().unwrap();
        assert!(run.ask(&name, None).unwrap_err().to_string().contains("--admin"));
        let listen = |process| UnixListener::bind(run.socket(&name, process, ADMIN)).unwrap();
        let first = listen(7);
        std::fs::write(run.socket(&name, 7, GIVE), "").unwrap();
        assert_eq!(run.ask(&name, None).unwrap(), run.socket(&name, 7, ADMIN));
        assert_eq!(run.giver(&name).unwrap(), Some(run.socket(&name, 7, GIVE)));
        assert!(run.ask(&other, None).is_err(), "another proxy");
        let _second = listen(8);
        let several = run.ask(&name, None).unwrap_err().to_string();
        assert!(several.ends_with("choose one with --pid: 7, 8"), "{several}");
        assert_eq!(run.ask(&name, Some(8)).unwrap(), run.socket(&name, 8, ADMIN));
        // A process that ended leaves its socket; it is not tried.
        drop(first);
        assert_eq!(run.ask(&name, None).unwrap(), run.socket(&name, 8, ADMIN));
        assert_eq!(run.giver(&name).unwrap(), None);
        assert!(!run.socket(&name, 7, GIVE).exists());
        drop(listen(9));
        run.tidy_ended(&name);
        assert!(!run.socket(&name, 9, ADMIN).exists() && run.socket(&name, 8, ADMIN).exists());
    }

    /// A folder that others could write to before has what they left there. Only the superuser can leave something for somebody
    /// else here, so for others this test has nothing to look at.
    #[test]
    fn a_socket_that_another_user_left_there_is_nobody_to_ask_or_to_take_over_from() {
        let folder = TempDir::new().unwrap();
        let run = RunFolder::open(Some(&folder.path().join("run"))).unwrap();
        let name: NodeName = "gateway:shop/edge".parse().unwrap();
        let listen =
            |process, ending| UnixListener::bind(run.socket(&name, process, ending)).unwrap();
        let foreign = [listen(7, ADMIN), listen(7, GIVE)];
        assert!(run.giver(&name).unwrap().is_some(), "it is this user's yet");
        let nobody = Some(65_534);
        let given = [ADMIN, GIVE]
            .map(|ending| std::os::unix::fs::chown(run.socket(&name, 7, ending), nobody, None));
        if given.iter().any(Result::is_err) {
            return;
        }
        assert!(run.ask(&name, None).is_err() && run.ask(&name, Some(7)).is_err());
        assert_eq!(run.giver(&name).unwrap(), None);
        let _own = [listen(8, ADMIN), listen(8, GIVE)];
        assert_eq!(run.ask(&name, None).unwrap(), run.socket(&name, 8, ADMIN));
        assert_eq!(run.giver(&name).unwrap(), Some(run.socket(&name, 8, GIVE)));
        drop(foreign);
    }
}
