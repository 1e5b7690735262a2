//! Tamis with the documents of `tests/bench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::Bench;
use super::running::RunningServer;
use super::steady;
use tamis_harness::shell;

/// Which policies a mesh has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Policies {
    /// Route alone: the least that forwards a request.
    Route,
    /// Route, retry, circuit breaker, JWT and telemetry.
    Five,
}

/// Files of a certificate for servers, in PEM.
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// A folder of documents, keys, certificates and signed filters.
pub(super) struct Mesh {
    folder: TempDir,
    binary: PathBuf,
    http: String,
    https: String,
    outbound: String,
    pub(super) admin: String,
    sidecar_admin: String,
    app_admin: String,
}

impl Mesh {
    /// Makes one in front of `backend`.
    pub(super) fn new(bench: &Bench, backend: &str, policies: Policies) -> Result<Self> {
        Self::of(&bench.binary, backend, policies)
    }

    /// The same with this program.
    pub(super) fn of(binary: &Path, backend: &str, policies: Policies) -> Result<Self> {
        Self::made(binary, backend, policies, &template("mesh.yaml")?)
    }

    /// The same for the program that this one is compared with, when there is one; both take the same
    /// token, so that one load serves both.
    pub(super) fn of_the_other(&self, bench: &Bench, backend: &str) -> Result<Option<Self>> {
        let Some(binary) = &bench.other else { return Ok(None) };
        let other = Self::of(binary, backend, Policies::Five)?;
        for name in [".tamis/token", ".tamis/jwks.json"] {
            other.write(name, &self.read(name)?)?;
        }
        Ok(Some(other))
    }

    /// The same, with a sidecar before `backend` as well.
    pub(super) fn with_both_sidecars(bench: &Bench, backend: &str) -> Result<Self> {
        let [sidecar, outbound, admin] = [(); 3].map(|()| tamis_harness::ports::free());
        let sidecar = format!(
            "  identity: spiffe://bench.example/app\n  tls: {{ certificate: .tamis/certs/app.crt, key: .tamis/certs/app.key, ca: .tamis/certs/ca.crt }}\n  endpoints:\n    - {{ address: \"@BACKEND@\", sidecar: \"127.0.0.1:{sidecar}\", outbound: \"127.0.0.1:{outbound}\", admin: \"127.0.0.1:{admin}\" }}\n"
        );
        let alone = "  endpoints: [{ address: \"@BACKEND@\" }]\n";
        let documents = template("mesh.yaml")?.replacen(alone, &sidecar, 1);
        let mut mesh = Self::made(&bench.binary, backend, Policies::Five, &documents)?;
        mesh.app_admin = format!("127.0.0.1:{admin}");
        Ok(mesh)
    }

    fn made(binary: &Path, backend: &str, policies: Policies, documents: &str) -> Result<Self> {
        let mut ports = [0; 6];
        for port in &mut ports {
            *port = tamis_harness::ports::free();
        }
        let [http, https, admin, sidecar, outbound, sidecar_admin] = ports;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mesh = Self {
            folder: TempDir::new()?,
            binary: binary.to_owned(),
            http: address(http),
            https: address(https),
            outbound: address(outbound),
            admin: address(admin),
            sidecar_admin: address(sidecar_admin),
            app_admin: String::new(),
        };
        let documents = documents
            .replace("@HTTP@", &http.to_string())
            .replace("@HTTPS@", &https.to_string())
            .replace("@ADMIN@", &admin.to_string())
            .replace("@SIDECAR@", &sidecar.to_string())
            .replace("@OUTBOUND@", &outbound.to_string())
            .replace("@SIDECAR_ADMIN@", &sidecar_admin.to_string())
            .replace("@BACKEND@", backend);
        mesh.write("mesh.yaml", &documents)?;
        mesh.write("routes.yaml", &template("routes.yaml")?)?;
        if policies == Policies::Five {
            mesh.write("policies.yaml", &template("policies.yaml")?)?;
        }
        let mut prepare = shell::command(binary);
        shell::read(prepare.args(["up", ".", "--prepare"]).current_dir(mesh.folder.path()))?;
        Ok(mesh)
    }

    /// Writes a temporary file, then renames it, as editors do.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join(name);
        let beside = path.with_extension("new");
        fs::write(&beside, text)?;
        Ok(fs::rename(beside, path)?)
    }

    /// A file of it.
    pub(super) fn read(&self, name: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        fs::read_to_string(&path).with_context(|| format!("{} is not readable", path.display()))
    }

    /// Deletes the compiled code.
    pub(super) fn forget_compiled(&self) -> Result<()> {
        let cache = self.folder.path().join(".tamis/cache");
        if cache.exists() {
            fs::remove_dir_all(cache)?;
        }
        Ok(())
    }

    /// The headers of every request to any proxy: six ordinary fields and a token.
    pub(super) fn headers(&self) -> Result<Vec<String>> {
        let token = self.read(".tamis/token")?;
        let mut headers = HEADERS.map(str::to_owned).to_vec();
        headers.push(format!("authorization: Bearer {}", token.trim()));
        Ok(headers)
    }

    /// Its upstream speaks HTTP/2.
    pub(super) fn speak_http2(&self) -> Result<()> {
        let text = self.read("mesh.yaml")?;
        // The first service is the upstream.
        self.write("mesh.yaml", &text.replacen("protocol: http }", "protocol: http2 }", 1))
    }

    /// Where its gateway listens with TLS.
    pub(super) fn https(&self) -> String {
        self.https.clone()
    }

    /// The certificate that its gateway shows there.
    pub(super) fn certificate(&self) -> Certificate {
        Certificate {
            chain: self.certificate_file("edge.crt"),
            key: self.certificate_file("edge.key"),
        }
    }

    /// Its gateway, with one worker.
    pub(super) fn gateway(&self, bench: &Bench, watch: bool) -> Result<RunningServer> {
        let mut command = self.proxy(bench, "gateway:bench/edge", 1);
        if !watch {
            command.arg("--no-watch");
        }
        RunningServer::start(command, &self.http, &lines(&self.headers()?))
    }

    /// Its gateway, with a library that counts what it allocates into a file.
    pub(super) fn counted(
        &self,
        bench: &Bench,
        library: &Path,
        counts: &Path,
    ) -> Result<RunningServer> {
        let mut command = self.proxy(bench, "gateway:bench/edge", 1);
        command.arg("--no-watch");
        command.env("LD_PRELOAD", library).env("TAMIS_ALLOCATIONS", counts);
        RunningServer::start(command, &self.http, &lines(&self.headers()?))
    }

    /// Its sidecar, once it has served requests of its application.
    pub(super) fn sidecar(&self, bench: &Bench, workers: u32) -> Result<RunningServer> {
        let mut command = self.proxy(bench, "sidecar:bench/caller/0", workers);
        command.arg("--no-watch");
        let headers = lines(&self.headers()?);
        let running = RunningServer::start_admin(command, &self.sidecar_admin)?;
        for _ in 0..1_000 {
            let (status, _) = steady::get_from(&self.outbound, "app", "/", &headers)?;
            anyhow::ensure!(status == 200, "the sidecar answers {status}");
        }
        Ok(running)
    }

    /// The sidecars of the upstream and of its caller, and where the caller sends its requests.
    pub(super) fn sidecars(&self, bench: &Bench) -> Result<(RunningServer, RunningServer, &str)> {
        let mut command = self.proxy(bench, "sidecar:bench/app/0", 1);
        command.arg("--no-watch");
        let inbound = RunningServer::start_admin(command, &self.app_admin)?;
        Ok((inbound, self.sidecar(bench, 1)?, &self.outbound))
    }

    /// A file of a certificate of it.
    pub(super) fn certificate_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(".tamis/certs").join(name)
    }

    /// The generation its gateway serves.
    pub(super) fn generation(&self) -> Result<u64> {
        let (_, body) = steady::get_from(&self.admin, "localhost", "/config", "")?;
        let value: serde_json::Value = serde_json::from_str(&body)?;
        value.pointer("/generation").and_then(serde_json::Value::as_u64).context("no generation")
    }

    fn proxy(&self, bench: &Bench, node: &str, workers: u32) -> Command {
        let mut command = bench.cores.proxy(&self.binary.to_string_lossy());
        command
            .args(["proxy", "--node", node, "--documents", ".", "--store", ".tamis/store"])
            .args(["--cache", ".tamis/cache", "--access-log", "off"])
            .args(["--workers", &workers.to_string()])
            .current_dir(self.folder.path());
        command
    }
}

/// A file of `tests/bench`.
pub(super) fn template(name: &str) -> Result<String> {
    let path = Path::new("tests/bench").join(name);
    fs::read_to_string(shell::root().join(&path))
        .with_context(|| format!("{} is not readable", path.display()))
}

/// Fields as they go over the wire.
pub(super) fn lines(headers: &[String]) -> String {
    headers.iter().map(|header| format!("{header}\r\n")).collect()
}

const HEADERS: [&str; 6] = [
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.5",
    "accept-encoding: gzip, deflate, br",
    "cookie: session=0123456789abcdef; theme=dark",
    "x-request-id: 6f1ed002-ab51-4a1c-9f2e-3f0f6e2f9a10",
];
