//! Running other programs, and saying what is going on.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The root of the repository.
pub use crate::root;

/// A command that runs in the root of the repository.
///
/// It does not see what cargo told this program about its own package: a build script that reads
/// such a variable would otherwise run again at every turn between `cargo` and `cargo xtask`.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The cargo that runs this program.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The compiler that cargo uses.
pub fn rustc() -> Command {
    command(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Runs a command that talks to the terminal itself; fails when it fails.
///
/// # Errors
/// When the command does not start or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("could not start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and hands back what it printed, whether it succeeded or not.
///
/// # Errors
/// When the command does not start.
pub fn capture(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("could not start `{}`", line(command)))
}

/// Runs a command quietly and hands back its standard output; its complaints belong to the error.
///
/// # Errors
/// When the command does not start or fails.
pub fn read(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({})\n{}", line(command), output.status, complaint.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be started at all, asked with `--version`.
pub fn exists(program: impl AsRef<OsStr>) -> bool {
    command(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether a program can be started with that argument.
pub fn exists_with(program: &str, argument: &str) -> bool {
    command(program).arg(argument).output().is_ok_and(|output| output.status.success())
}

/// Announces a step, runs it, and prints how long it took.
///
/// # Errors
/// Those of the step.
pub fn step<T>(name: &str, act: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    println!("==> {name}");
    let start = Instant::now();
    let value = act()?;
    let took = start.elapsed();
    println!("    {name}: {:.1} s", took.as_secs_f64());
    Ok((value, took))
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let mut words = vec![Path::new(command.get_program()).file_name().map_or_else(
        || command.get_program().to_string_lossy().into_owned(),
        |name| name.to_string_lossy().into_owned(),
    )];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_its_complaint() {
        let mut failing = command("sh");
        failing.args(["-c", "echo the disk is full >&2; exit 3"]);
        let error = read(&mut failing).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c"), "{error}");
        assert!(error.contains("the disk is full"), "{error}");
    }
}
