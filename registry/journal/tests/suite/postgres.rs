//! A PostgreSQL server that the tests start, and promises of the journal in it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::json;
use tamis_journal::{Journal, JournalError, Record};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// A server with a port and a folder of its own; stopped when its last holder is dropped.
pub(crate) struct Server {
    process: Child,
    port: u16,
    databases: AtomicU32,
    _folder: TempDir,
}

/// The server that tests share while at least one of them runs.
pub(crate) async fn server() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let server = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start());
            *shared = Arc::downgrade(&server);
            server
        })
    };
    let began = Instant::now();
    while connect(&server.url("postgres")).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server
}

impl Server {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let user = Command::new("id").arg("-u").output().unwrap();
        // A server refuses to run as root; Debian's package creates a user for it.
        let root = user.stdout == b"0\n";
        if root {
            let ids = ["-u", "-g"].map(|which| {
                let id = Command::new("id").args([which, "postgres"]).output().unwrap();
                String::from_utf8(id.stdout).unwrap().trim().parse::<u32>().unwrap()
            });
            chown(folder.path(), Some(ids[0]), Some(ids[1])).unwrap();
        }
        let data = folder.path().join("data");
        let initialised = command("initdb", root, &data)
            .args([
                "--auth=trust",
                "--username=tamis",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&initialised.stderr);
        assert!(initialised.status.success(), "initdb failed: {said}");
        let port = tamis_harness::ports::free();
        let process = command("postgres", root, &data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port, databases: AtomicU32::new(0), _folder: folder }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://tamis@127.0.0.1:{}/{database}", self.port)
    }

    /// The address of a new, empty database.
    pub(crate) async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let client = connect(&self.url("postgres")).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        self.url(&name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = self.process.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &process]).status();
        let _ = self.process.wait();
    }
}

fn command(program: &str, root: bool, data: &Path) -> Command {
    let program = programs().join(program);
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // The current folder may not be readable for that user.
    command.arg("-D").arg(data).current_dir("/").stdin(Stdio::null());
    command
}

/// Where Debian keeps the newest server.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path()).max();
    newest.expect("PostgreSQL is not installed; run `cargo xtask setup`").join("bin")
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn note(number: u32) -> Record {
    Record { kind: "note".into(), body: json!({ "number": number }) }
}

#[tokio::test]
async fn a_tampered_column_of_any_row_is_found_by_check() {
    let server = server().await;
    let columns = [
        ("revision", "revision + 100"),
        ("time_ms", "time_ms + 1"),
        ("time_ms", "-time_ms"),
        ("actor", "'eve'"),
        ("kind", "'note-b'"),
        ("body", "replace(body, ':', ': ')"),
        ("previous", "'\\x00'"),
        ("hash", "sha256('')"),
    ];
    for (column, value) in columns {
        for revision in [1_i64, 3, 5] {
            let url = server.database().await;
            let journal = Journal::postgres(&url).await.unwrap();
            for number in 1..=5 {
                journal.append(None, u64::from(number), "ada", &[note(number)]).await.unwrap();
            }
            journal.check().await.unwrap();
            let sql = format!("UPDATE journal SET {column} = {value} WHERE revision = $1");
            let changed = connect(&url).await.unwrap().execute(&sql, &[&revision]).await.unwrap();
            assert_eq!(changed, 1);
            match journal.check().await {
                Err(JournalError::Tampered { revision: found, .. }) => {
                    assert_eq!(found, u64::try_from(revision).unwrap(), "{column} = {value}");
                }
                other => panic!("{column} = {value} of {revision}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let server = server().await;
    let url = server.database().await;
    let journal = Journal::postgres(&url).await.unwrap();
    let admin = connect(&url).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for turn in 0..5 {
        admin.execute(end, &[]).await.unwrap();
        let head = journal.append(Some(turn), 1, "ada", &[note(1)]).await.unwrap();
        admin.execute(end, &[]).await.unwrap();
        assert_eq!(journal.head().await.unwrap(), head);
        admin.execute(end, &[]).await.unwrap();
        assert_eq!(journal.read(turn, 10).await.unwrap().len(), 1);
    }
    assert_eq!(journal.check().await.unwrap().revision, 5);
}

#[tokio::test]
async fn servers_that_begin_at_once_share_one_order_and_hear_of_each_other() {
    let server = server().await;
    let url = server.database().await;
    let open = async || Journal::postgres(&url).await.unwrap();
    let (one, two, three) = tokio::join!(open(), open(), open());
    let append = async |journal: &Journal| {
        for number in 0..10 {
            journal.append(None, 1, "ada", &[note(number)]).await.unwrap();
        }
    };
    let follow = async {
        let mut read = 0;
        while read < 20 {
            three.wait(read).await.unwrap();
            for entry in three.read(read, 5).await.unwrap() {
                assert_eq!(entry.revision, read + 1);
                read = entry.revision;
            }
        }
    };
    tokio::join!(append(&one), append(&two), follow);
    assert_eq!(two.check().await.unwrap().revision, 20);
}

#[tokio::test]
async fn an_address_that_nobody_answers_is_told() {
    let refused = Journal::postgres("postgres://tamis@127.0.0.1:1/none").await;
    assert!(matches!(refused, Err(JournalError::Storage { .. })), "{refused:?}");
    assert!(matches!(Journal::postgres("nonsense").await, Err(JournalError::Storage { .. })));
}
