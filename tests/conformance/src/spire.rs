//! A real SPIRE: its server signs, its agent gives two proxies their SVIDs over the Workload API, rotates them, goes away and comes
//! back, and federates with another trust domain.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use super::gateway::{self, exchange};
use super::{Outcome, go_tools};
use tamis_harness::{Process, Workspace, ports, shell};

const MODULE: &str = "github.com/spiffe/spire";
const VERSION: &str = "v1.13.3";
const DOMAIN: &str = "shop.example";
const PARTNER: &str = "partner.example";
/// Life of an SVID in seconds. An agent asks for the next one after half of it.
const LIFE: &str = "60";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server of SPIRE.
struct Server {
    program: PathBuf,
    socket: String,
    port: u16,
    _process: Process,
}

impl Server {
    fn start(program: &Path, folder: &Path, domain: &str) -> Result<Self> {
        let folder = folder.join(domain);
        fs::create_dir(&folder)?;
        let (port, socket) = (ports::free(), folder.join("server.sock").display().to_string());
        let text = SERVER
            .replace("@DOMAIN@", domain)
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@PORT@", &port.to_string());
        let config = folder.join("server.conf");
        fs::write(&config, text)?;
        let log = fs::File::create(folder.join("server.log"))?;
        let mut command = Command::new(program);
        command.args(["run", "-config"]).arg(&config).stdout(log.try_clone()?).stderr(log);
        let process = Process(command.spawn()?);
        let server = Self { program: program.to_owned(), socket, port, _process: process };
        until("the server of SPIRE serves", || server.does(&["healthcheck"]).is_ok())?;
        Ok(server)
    }

    /// The output of a command.
    fn does(&self, arguments: &[&str]) -> Result<String> {
        let mut command = shell::command(&self.program);
        command.args(arguments).args(["-socketPath", &self.socket]);
        shell::read(&mut command)
    }

    /// Registers an id for every process of this user.
    fn register(&self, parent: &str, name: &str) -> Result<()> {
        let user = shell::read(shell::command("id").arg("-u"))?;
        let (id, selector) = (
            format!("spiffe://{DOMAIN}/ns/test/service/{name}"),
            format!("unix:uid:{}", user.trim()),
        );
        let entry =
            ["entry", "create", "-parentID", parent, "-spiffeID", &id, "-selector", &selector];
        let more = ["-x509SVIDTTL", LIFE, "-federatesWith", &format!("spiffe://{PARTNER}")];
        self.does(&[&entry[..], &more].concat()).map(drop)
    }
}

/// Starts the agent; with a token, if it has not been attested yet.
fn agent(program: &Path, folder: &Path, server: &Server, token: Option<&str>) -> Result<Process> {
    let text = AGENT
        .replace("@DOMAIN@", DOMAIN)
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@PORT@", &server.port.to_string());
    fs::write(folder.join("agent.conf"), text)?;
    let log = fs::File::options().create(true).append(true).open(folder.join("agent.log"))?;
    let mut command = Command::new(program);
    command.args(["run", "-config"]).arg(folder.join("agent.conf"));
    if let Some(token) = token {
        command.args(["-joinToken", token]);
    }
    Ok(Process(command.stdout(log.try_clone()?).stderr(log).spawn()?))
}

/// Two sidecars whose documents have no certificate file.
struct Mesh {
    folder: TempDir,
    outbound: String,
    /// Of `pay` and `cart`.
    admins: [String; 2],
    processes: Vec<Process>,
}

impl Mesh {
    fn prepare() -> Result<Self> {
        let folder = TempDir::new()?;
        let free = || format!("127.0.0.1:{}", ports::free());
        let (outbound, admins) = (free(), [free(), free()]);
        let service = |name: &str, address: &str, outbound: &str, admin: &str| {
            SERVICE
                .replace("@NAME@", name)
                .replace("@ADDRESS@", address)
                .replace("@OUTBOUND@", outbound)
                .replace("@SIDECAR@", &free())
                .replace("@ADMIN@", admin)
        };
        let [pay, cart] = &admins;
        let documents = [
            TRUST.to_owned(),
            gateway::FILTERS.to_owned(),
            service("pay", &application()?, &free(), pay),
            service("cart", &free(), &outbound, cart),
        ];
        fs::write(folder.path().join("mesh.yaml"), documents.concat())?;
        let mut prepare = shell::command(binary()?);
        shell::read(prepare.args(["up", ".", "--prepare"]).current_dir(folder.path()))?;
        Ok(Self { folder, outbound, admins, processes: Vec::new() })
    }

    fn starts(&mut self, name: &str, socket: &Path) -> Result<()> {
        let log = fs::File::create(self.folder.path().join(format!("{name}.log")))?;
        let mut command = Command::new(binary()?);
        command
            .args(["proxy", "--node", &format!("sidecar:test/{name}/0"), "--documents", "."])
            .args(["--store", ".tamis/store", "--cache", ".tamis/cache", "--access-log", "off"])
            .args([
                "--run-folder",
                "run",
                "--workload-api",
                &format!("unix://{}", socket.display()),
            ])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(log);
        self.processes.push(Process(command.spawn()?));
        Ok(())
    }

    /// Whether `cart` reaches `pay`.
    fn reaches(&self) -> bool {
        let request = b"GET / HTTP/1.1\r\nhost: pay\r\nconnection: close\r\n\r\n";
        exchange(&self.outbound, request).starts_with(b"HTTP/1.1 200")
    }

    /// A page of an admin listener.
    fn page(&self, proxy: usize, path: &str) -> String {
        let admin = self.admins.get(proxy).map_or("", String::as_str);
        let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        String::from_utf8_lossy(&exchange(admin, request.as_bytes())).into_owned()
    }

    /// A metric without labels.
    fn metric(&self, proxy: usize, name: &str) -> u64 {
        let text = self.page(proxy, "/metrics");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next().and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }

    /// Waits, while requests go on; whether all of them succeeded.
    fn serves_until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<bool> {
        let mut all = true;
        until(what, || {
            all &= self.reaches();
            holds()
        })?;
        Ok(all)
    }

    fn renewed(&self) -> [u64; 2] {
        [0, 1].map(|proxy| self.metric(proxy, "tamis_svid_renewals_total"))
    }
}

pub(super) fn run() -> Result<Vec<Outcome>> {
    let programs = go_tools(MODULE, VERSION, &["spire-server", "spire-agent"])?;
    let [server, agent] = programs.as_slice() else { bail!("SPIRE has two programs") };
    // The path of a socket is short.
    let folder = TempDir::new()?;
    let checks = checks(server, agent, folder.path());
    if checks.is_err() {
        let kept = folder.keep();
        println!("    logs are in {}", kept.display());
    }
    let checks = checks?;
    let failed: Vec<_> =
        checks.iter().filter(|(_, passed)| !passed).map(|(what, _)| *what).collect();
    Ok(vec![Outcome {
        name: "spire",
        said: format!(
            "{} of {} checks with SPIRE {VERSION}",
            checks.len() - failed.len(),
            checks.len()
        ),
        passed: failed.is_empty(),
        details: json!({ "version": VERSION, "failed": failed }),
    }])
}

/// What was checked, and whether it holds.
type Checks = Vec<(&'static str, bool)>;

fn checks(server: &Path, agent_program: &Path, folder: &Path) -> Result<Checks> {
    let partner = Server::start(server, folder, PARTNER)?;
    let spire = Server::start(server, folder, DOMAIN)?;
    let bundle = folder.join("partner.json").display().to_string();
    fs::write(&bundle, partner.does(&["bundle", "show", "-format", "spiffe"])?)?;
    let id = format!("spiffe://{PARTNER}");
    spire.does(&["bundle", "set", "-format", "spiffe", "-id", &id, "-path", &bundle])?;
    let made = spire.does(&["token", "generate", "-output", "json"])?;
    let made: serde_json::Value = serde_json::from_str(&made)?;
    let token =
        made.get("value").and_then(|value| value.as_str()).context("SPIRE made no token")?;
    let parent = format!("spiffe://{DOMAIN}/spire/agent/join_token/{token}");
    let (socket, mut mesh, mut checks) =
        (folder.join("agent.sock"), Mesh::prepare()?, Checks::new());

    // The proxies are there before the agent, and the agent before what it has for them.
    mesh.starts("pay", &socket)?;
    mesh.starts("cart", &socket)?;
    let running = agent(agent_program, folder, &spire, Some(token))?;
    until("the agent listens", || socket.exists())?;
    spire.register(&parent, "pay")?;
    spire.register(&parent, "cart")?;
    until("cart reaches pay", || mesh.reaches())?;
    checks
        .push(("each proxy takes the id of its document, of two that the agent gives both", true));
    let recognised = |mesh: &Mesh| mesh.page(0, "/config").contains(PARTNER);
    until("the federated domain is recognised", || recognised(&mesh))?;
    checks.push(("a domain with which SPIRE federates is recognised", true));

    let [pay, cart] = mesh.renewed();
    let lossless = mesh.serves_until("a rotation", || {
        let now = mesh.renewed();
        now.iter().zip([pay, cart]).all(|(now, before)| *now >= before + 2)
    })?;
    checks.push(("two rotations lose no request", lossless));

    drop(running);
    let failed = mesh.metric(0, "tamis_svid_renewals_failed_total");
    let serves = mesh.serves_until("the outage is noticed", || {
        mesh.metric(0, "tamis_svid_renewals_failed_total") > failed
    })?;
    checks.push(("without the agent they serve on", serves));
    let [pay, _] = mesh.renewed();
    let running = agent(agent_program, folder, &spire, None)?;
    let serves =
        mesh.serves_until("the agent is back", || mesh.renewed().iter().all(|now| *now > pay))?;
    checks.push(("with the agent the SVIDs are replaced again", serves));

    spire.does(&["bundle", "delete", "-id", &id, "-mode", "dissociate"])?;
    let serves = mesh.serves_until("the federation ends", || !recognised(&mesh))?;
    checks.push(("a domain with which SPIRE federates no more is recognised no more", serves));
    drop(running);
    Ok(checks)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            bail!("not within {PATIENCE:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn binary() -> Result<PathBuf> {
    Ok(Workspace::load()?.target_directory.join("debug/tamis"))
}

/// The address of an application that responds to everything, until the suite ends.
fn application() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut octets = [0; 4096];
            // A request without a body fits into one read.
            let _ = stream.read(&mut octets);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _ = stream.write_all(answer);
        }
    });
    Ok(address)
}

const SERVER: &str = r#"
server {
  bind_address = "127.0.0.1"
  bind_port = "@PORT@"
  socket_path = "@FOLDER@/server.sock"
  trust_domain = "@DOMAIN@"
  data_dir = "@FOLDER@"
  log_level = "INFO"
  ca_ttl = "24h"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3", connection_string = "@FOLDER@/store.sqlite3" } }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
"#;

const AGENT: &str = r#"
agent {
  data_dir = "@FOLDER@"
  log_level = "INFO"
  server_address = "127.0.0.1"
  server_port = "@PORT@"
  socket_path = "@FOLDER@/agent.sock"
  trust_domain = "@DOMAIN@"
  insecure_bootstrap = true
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "@FOLDER@" } }
  WorkloadAttestor "unix" { plugin_data {} }
}
"#;

const SERVICE: &str = "\
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: @NAME@, namespace: test }
spec:
  ports: [{ port: 80, protocol: http }]
  identity: spiffe://shop.example/ns/test/service/@NAME@
  endpoints: [{ address: \"@ADDRESS@\", sidecar: \"@SIDECAR@\", outbound: \"@OUTBOUND@\", admin: \"@ADMIN@\" }]
---
";

const TRUST: &str = "\
kind: TrustPolicy
apiVersion: tamis.dev/v1alpha1
metadata: { name: local, namespace: security }
spec:
  namespaces: [\"*\"]
  keys: [{ name: local-dev, publicKeyFile: .tamis/keys/local-dev.pub }]
  threshold: 1
---
";
