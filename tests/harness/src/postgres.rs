//! A PostgreSQL server that a test starts for itself.

use crate::eventually;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tempfile::TempDir;

/// A server on its own port and in its own folder; stopped when dropped.
pub struct Postgres {
    process: Child,
    address: SocketAddr,
    databases: AtomicU32,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one and waits until it answers. It does not wait for its disk: the tests end the registry,
    /// never the machine.
    pub fn start() -> Self {
        Self::start_in(&[], SocketAddr::from(([127, 0, 0, 1], crate::ports::free())))
    }

    /// The same at an address, started by `wrapper`: `ip netns exec NAME`. Whoever reaches it may use it.
    pub fn start_in(wrapper: &[&str], address: SocketAddr) -> Self {
        let folder = TempDir::new().unwrap();
        // The server refuses to run as root; Debian's package creates a user for it.
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        if root {
            let ids = ["-u", "-g"].map(|which| {
                let id = Command::new("id").args([which, "postgres"]).output().unwrap();
                String::from_utf8(id.stdout).unwrap().trim().parse::<u32>().unwrap()
            });
            chown(folder.path(), Some(ids[0]), Some(ids[1])).unwrap();
        }
        let data = folder.path().join("data");
        let begun = command(&[], "initdb", root, &data)
            .args([
                "--auth=trust",
                "--username=tamis",
                "--no-sync",
                // A new database of a test costs 8 MB; its log of changes must not cost as much again.
                "--wal-segsize=1",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .output()
            .unwrap();
        assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
        let anybody = data.join("pg_hba.conf");
        std::fs::write(anybody, "host all all all trust\n").unwrap();
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let process = command(wrapper, "postgres", root, &data)
            .args(["-p", &port, "-c", &format!("listen_addresses={host}")])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off"])
            .args(["-c", "min_wal_size=2MB", "-c", "max_wal_size=16MB"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, address, databases: AtomicU32::new(0), _folder: folder };
        eventually("PostgreSQL answers", || {
            let mut ask = wrapped(wrapper, &programs().join("pg_isready"));
            ask.args(["-q", "-h", &host, "-p", &port]);
            ask.status().unwrap().success().then_some(())
        });
        server
    }

    /// The one that tests of a process share while at least one of them holds it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The address of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut create = Command::new(programs().join("createdb"));
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        create.args(["-h", &host, "-U", "tamis", "-p", &port, &name]);
        let done = create.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        format!("postgres://tamis@{}/{name}", self.address)
    }

    /// The address of its empty database.
    pub fn url(&self) -> String {
        format!("postgres://tamis@{}/postgres", self.address)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let process = self.process.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &process]).status();
        let _ = self.process.wait();
    }
}

/// A program, started by a wrapper.
fn wrapped(wrapper: &[&str], program: &Path) -> Command {
    match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

fn command(wrapper: &[&str], program: &str, root: bool, data: &Path) -> Command {
    let program = programs().join(program);
    let mut command = if root {
        let mut command = wrapped(wrapper, Path::new("setpriv"));
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        wrapped(wrapper, &program)
    };
    // The current folder may not be readable to that user.
    command.arg("-D").arg(data).current_dir("/").stdin(Stdio::null());
    command
}

/// Where Debian keeps the newest server.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path()).max();
    let newest = newest.unwrap_or_else(|| panic!("no PostgreSQL; run `cargo xtask setup`"));
    newest.join("bin")
}
