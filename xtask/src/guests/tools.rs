//! The tools of each language, installed in `target/tools/guests` from the language's own registry.
//!
//! Nothing is installed for the whole machine. An interpreter or compiler that has to be there
//! already (node, python3, go) is asked for first, and named when it is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// From Python sources to a component; brings its own interpreter.
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";

/// A C compiler with the headers and the library for WebAssembly, in one package.
const ZIG: &str = "ziglang==0.17.0";

/// Bindings for C and Go: the release that the Rust SDK is generated with, too.
const WIT_BINDGEN: &str = "0.61.1";

/// Where the tools are.
pub(super) struct Tools {
    root: PathBuf,
}

impl Tools {
    pub(super) fn new(workspace: &Workspace) -> Self {
        Self { root: workspace.tools().join("guests") }
    }

    /// The program `componentize-js`, in the versions of the `package.json` of the sources.
    pub(super) fn componentize_js(&self, sources: &Path) -> Result<PathBuf> {
        needed("node", "--version", "Node.js 20 or newer")?;
        needed("npm", "--version", "npm, which comes with Node.js")?;
        let manifest = sources.with_file_name("package.json");
        let pin = fs::read_to_string(&manifest)?;
        let folder = self.install("javascript", &pin, |folder| {
            fs::copy(&manifest, folder.join("package.json"))?;
            let mut npm = shell::command("npm");
            npm.args([
                "install",
                "--no-package-lock",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ]);
            shell::read(npm.current_dir(folder)).map(drop)
        })?;
        Ok(folder.join("node_modules/.bin/componentize-js"))
    }

    /// The program `componentize-py`.
    pub(super) fn componentize_py(&self) -> Result<PathBuf> {
        Ok(self.python_package("python", COMPONENTIZE_PY)?.join("bin/componentize-py"))
    }

    /// A C compiler; the caller adds its arguments.
    pub(super) fn zig_cc(&self) -> Result<Command> {
        let folder = self.python_package("c", ZIG)?;
        let mut zig = shell::command(folder.join("bin/python"));
        zig.args(["-m", "ziglang", "cc"]);
        for variable in ["ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"] {
            zig.env(variable, folder.join("cache"));
        }
        Ok(zig)
    }

    /// The program `wit-bindgen`, compiled with what it needs for C and Go.
    pub(super) fn wit_bindgen(&self) -> Result<PathBuf> {
        let folder = self.install("wit-bindgen", WIT_BINDGEN, |folder| {
            println!("    compiling wit-bindgen {WIT_BINDGEN}, which takes a few minutes");
            let mut cargo = shell::cargo();
            cargo.args(["install", "--locked", "--quiet", "wit-bindgen-cli"]);
            cargo.args(["--version", WIT_BINDGEN, "--no-default-features", "--features", "c,go"]);
            cargo.arg("--root").arg(folder).arg("--target-dir").arg(folder.join("target"));
            shell::read(&mut cargo)?;
            Ok(fs::remove_dir_all(folder.join("target"))?)
        })?;
        Ok(folder.join("bin/wit-bindgen"))
    }

    /// The Go on this machine, with caches of its own.
    pub(super) fn go(&self) -> Result<Command> {
        needed("go", "version", "Go 1.25 or newer")?;
        let mut go = shell::command("go");
        let folder = self.root.join("go");
        go.env("GOMODCACHE", folder.join("modules")).env("GOCACHE", folder.join("cache"));
        // Another Go than the one that is there would be a download; what go.sum says is final.
        go.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly -modcacherw");
        Ok(go)
    }

    /// A virtual environment with one package.
    fn python_package(&self, name: &str, package: &str) -> Result<PathBuf> {
        needed("python3", "--version", "Python 3 with its venv module")?;
        self.install(name, package, |folder| {
            shell::read(shell::command("python3").args(["-m", "venv"]).arg(folder))?;
            let mut pip = shell::command(folder.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", package]);
            shell::read(&mut pip).map(drop)
        })
    }

    /// Installs in a folder of that name unless what is there was installed with the same pin.
    fn install(
        &self,
        name: &str,
        pin: &str,
        act: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = self.root.join(name);
        let stamp = folder.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|text| text == pin) {
            return Ok(folder);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        act(&folder)
            .with_context(|| format!("the tools for it could not be installed ({name})"))?;
        fs::write(stamp, pin)?;
        Ok(folder)
    }
}

fn needed(program: &str, question: &str, what: &str) -> Result<()> {
    let answer = shell::capture(shell::command(program).arg(question));
    if !answer.is_ok_and(|output| output.status.success()) {
        bail!("there is no {program} on this machine; install {what}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_installed_is_installed_again_only_for_another_pin() {
        let root = tempfile::tempdir().unwrap();
        let tools = Tools { root: root.path().to_owned() };
        let times = Cell::new(0);
        let install = |pin: &str| {
            let act = |folder: &Path| {
                times.set(times.get() + 1);
                Ok(fs::write(folder.join("tool"), pin)?)
            };
            tools.install("tool", pin, act).unwrap()
        };
        install("1");
        let folder = install("1");
        assert_eq!(times.get(), 1);
        install("2");
        assert_eq!(
            (times.get(), fs::read_to_string(folder.join("tool")).unwrap().as_str()),
            (2, "2")
        );
    }

    #[test]
    fn a_failed_install_is_not_taken_for_one() {
        let root = tempfile::tempdir().unwrap();
        let tools = Tools { root: root.path().to_owned() };
        let error = tools.install("tool", "1", |_| bail!("no network")).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "the tools for it could not be installed (tool): no network"
        );
        tools.install("tool", "1", |_| Ok(())).unwrap();
    }

    #[test]
    fn a_missing_program_is_named_in_one_line() {
        let error = needed("no-such-program", "--version", "it").unwrap_err();
        assert_eq!(error.to_string(), "there is no no-such-program on this machine; install it");
    }
}
