//! The wasm target where rustup cannot download: built from Debian's package of the compiler's
//! source.
//!
//! The package must be of exactly this compiler's version. It is looked for with a sources list and
//! a state folder of our own, so the machine's apt is left as it is; apt checks the signatures with
//! the keys that the machine trusts already. The result is the standard library that rustup would
//! have brought, built by the compiler that will use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::wasm;
use crate::shell;
use crate::workspace::Workspace;

/// Where Debian keeps several versions of the compiler, the smallest index first. These are aliases
/// that move with Debian's releases.
const SUITES: &[&str] = &["stable-backports", "testing", "unstable", "stable"];

/// The keys of Debian's archive, where its package `debian-archive-keyring` puts them.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Our folders belong to this user; apt's own user may not read them.
const NO_SANDBOX: &str = "APT::Sandbox::User=";

/// Builds the standard library and puts it where the compiler looks for it.
pub(crate) fn build_target() -> Result<()> {
    for program in ["apt-get", "dpkg-deb"] {
        if !shell::exists(program) {
            bail!("this is no Debian: there is no {program} to fetch the compiler's source with");
        }
    }
    let version = compiler_version()?;
    let tools = Workspace::load()?.tools();
    fs::create_dir_all(&tools)?;
    let folder = tempfile::Builder::new().prefix("rust-src-").tempdir_in(&tools)?;
    println!("    fetching the source of rustc {version} from Debian");
    let library = fetch_source(folder.path(), &version)?;
    println!("    building its standard library, about half a minute");
    let built = build(&library, &folder.path().join("build"))?;
    place(&built, &wasm::library_folder()?)
}

/// The release of the compiler in use, like `1.95.0`.
fn compiler_version() -> Result<String> {
    let report = shell::read(shell::rustc().arg("-vV"))?;
    let release = report.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(release.context("rustc -vV names no release")?.to_owned())
}

/// Fetches and unpacks the package; hands back its `library` folder.
fn fetch_source(folder: &Path, version: &str) -> Result<PathBuf> {
    for mirror in mirrors(folder)? {
        for suite in SUITES {
            let apt = PackageFolder::new(folder, &format!("deb {mirror} {suite} main"))?;
            // A mirror without this suite is no reason to stop: the next one may have it.
            let Ok(available) = apt.versions() else { continue };
            let Some(package) = matching(&available, version) else { continue };
            shell::read(
                apt.get(&["download", &format!("rust-src={package}")]).current_dir(folder),
            )?;
            return unpack(folder);
        }
    }
    bail!("no Debian suite carries rust-src {version} (looked in {})", SUITES.join(", "))
}

/// The `deb` line's options and address for each Debian archive that this machine uses.
fn mirrors(folder: &Path) -> Result<Vec<String>> {
    let mut mirrors = parse_mirrors(&index_targets(&[])?);
    if mirrors.is_empty() {
        // A machine whose index was thrown away still knows its sources: fetch the index again,
        // to a folder of ours.
        let lists = folder.join("machine-lists");
        fs::create_dir_all(lists.join("partial"))?;
        let lists = format!("Dir::State::Lists={}", lists.display());
        let options = ["-o", lists.as_str(), "-o", NO_SANDBOX];
        shell::read(shell::command("apt-get").args(options).args(["update", "-qq"]))?;
        mirrors = parse_mirrors(&index_targets(&options)?);
    }
    if mirrors.is_empty() {
        bail!("apt knows no Debian archive on this machine; name one in /etc/apt/sources.list.d");
    }
    Ok(mirrors)
}

fn index_targets(options: &[&str]) -> Result<String> {
    let mut ask = shell::command("apt-get");
    ask.args(options);
    ask.args(["indextargets", "--format", "$(SIGNED_BY)|$(SITE)", "Created-By: Packages"]);
    shell::read(&mut ask)
}

/// Reads `KEYRING|ADDRESS` lines. Security archives carry no backports.
///
/// An apt that cannot tell the keyring leaves the question as it is; then Debian's own is named.
fn parse_mirrors(lines: &str) -> Vec<String> {
    let mut mirrors = Vec::new();
    for (keyring, site) in lines.lines().filter_map(|line| line.split_once('|')) {
        if site.is_empty() || site.trim_end_matches('/').ends_with("-security") {
            continue;
        }
        let keyring = if keyring.starts_with('/') { keyring } else { DEBIAN_KEYS };
        let mirror = format!("[signed-by={keyring}] {site}");
        if !mirrors.contains(&mirror) {
            mirrors.push(mirror);
        }
    }
    mirrors
}

/// The first package version whose upstream part is the compiler's.
fn matching<'a>(available: &'a [String], version: &str) -> Option<&'a str> {
    available.iter().map(String::as_str).find(|package| {
        package.strip_prefix(version).is_some_and(|rest| rest.starts_with(['+', '-', '~']))
    })
}

/// apt with folders of its own.
struct PackageFolder {
    options: Vec<String>,
}

impl PackageFolder {
    fn new(folder: &Path, source: &str) -> Result<Self> {
        let state = folder.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(part))?;
        }
        let list = state.join("sources.list");
        fs::write(&list, format!("{source}\n"))?;
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        Ok(Self {
            options: vec![
                option("Dir::Etc::SourceList", &list),
                "Dir::Etc::SourceParts=/dev/null".to_owned(),
                option("Dir::State::Lists", &state.join("lists")),
                option("Dir::Cache", &state.join("cache")),
                "Acquire::Languages=none".to_owned(),
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
                NO_SANDBOX.to_owned(),
            ],
        })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = shell::command(program);
        command.args(self.options.iter().flat_map(|option| ["-o", option])).args(arguments);
        command
    }

    fn get(&self, arguments: &[&str]) -> Command {
        self.command("apt-get", arguments)
    }

    /// Every version of `rust-src` that the source carries.
    fn versions(&self) -> Result<Vec<String>> {
        shell::read(&mut self.get(&["update", "-qq"]))?;
        let table = shell::read(&mut self.command("apt-cache", &["madison", "rust-src"]))?;
        Ok(table
            .lines()
            .filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned()))
            .collect())
    }
}

/// Unpacks the one package in the folder and finds the standard library in it.
fn unpack(folder: &Path) -> Result<PathBuf> {
    let package = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded no package")?;
    let unpacked = folder.join("source");
    shell::read(shell::command("dpkg-deb").arg("-x").args([&package, &unpacked]))?;
    fs::read_dir(unpacked.join("usr/src"))?
        .flatten()
        .map(|entry| entry.path().join("library"))
        .find(|library| library.join("sysroot/Cargo.toml").is_file())
        .context("the package holds no library/sysroot")
}

/// Compiles the standard library; hands back the folder with the results.
fn build(library: &Path, target: &Path) -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    cargo
        .args(["build", "--quiet", "--release", "--target", wasm::TARGET])
        .args(["--manifest-path", "sysroot/Cargo.toml", "--target-dir"])
        .arg(target)
        .current_dir(library)
        // The standard library is written in the unstable part of the language.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Cembed-bitcode=yes -Zforce-unstable-if-unmarked")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    shell::read(&mut cargo)?;
    Ok(target.join(wasm::TARGET).join("release/deps"))
}

/// Copies the libraries next to their destination, then renames them: a copy that is
/// cut short must not look like an installed target.
fn place(built: &Path, destination: &Path) -> Result<()> {
    let parent = destination.parent().context("the compiler's folder has no parent")?;
    let explain = || format!("could not write to the compiler's folder {}", parent.display());
    fs::create_dir_all(parent).with_context(explain)?;
    let staging = tempfile::tempdir_in(parent).with_context(explain)?;
    let mut copied = 0_usize;
    for file in fs::read_dir(built)?.flatten() {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "rlib") {
            fs::copy(&path, staging.path().join(file.file_name())).with_context(explain)?;
            copied += 1;
        }
    }
    if copied == 0 {
        bail!("the build left no library in {}", built.display());
    }
    if destination.exists() {
        fs::remove_dir_all(destination).with_context(explain)?;
    }
    make_readable(staging.path())?;
    fs::rename(staging.keep(), destination).with_context(explain)
}

/// A temporary folder is its owner's alone; a compiler may be used by everyone on the machine.
fn make_readable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_upstream_version_matches() {
        let available = ["1.95.10+dfsg1-1", "1.96.1+dfsg1-2~bpo13+1", "1.95.1+dfsg1-2~bpo13+1"];
        let available = available.map(str::to_owned);
        assert_eq!(matching(&available, "1.95.1"), Some("1.95.1+dfsg1-2~bpo13+1"));
        assert_eq!(matching(&available, "1.95.0"), None);
    }

    #[test]
    fn mirrors_are_named_once_with_their_keys_and_without_security() {
        let lines = "/k.gpg|http://one.example/debian\n/k.gpg|http://one.example/debian\n\
                     $(SIGNED_BY)|http://two.example/debian\n\
                     /k.gpg|http://one.example/debian-security\n";
        let expected = [
            "[signed-by=/k.gpg] http://one.example/debian".to_owned(),
            format!("[signed-by={DEBIAN_KEYS}] http://two.example/debian"),
        ];
        assert_eq!(parse_mirrors(lines), expected);
    }

    #[test]
    fn libraries_replace_what_is_there_and_nothing_else_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (built, destination) = (folder.path().join("deps"), folder.path().join("wasm/lib"));
        fs::create_dir_all(&built).unwrap();
        fs::create_dir_all(&destination).unwrap();
        fs::write(built.join("libstd-1.rlib"), "new").unwrap();
        fs::write(built.join("std-1.d"), "").unwrap();
        fs::write(destination.join("libstd-0.rlib"), "old").unwrap();
        place(&built, &destination).unwrap();
        let files: Vec<_> =
            fs::read_dir(destination).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(files, ["libstd-1.rlib"]);
    }
}
