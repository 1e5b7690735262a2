//! Assigns cores.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use tamis_harness::shell;

/// The cores of a run.
pub(super) struct Cores {
    /// The proxy's core, and the core of everything else; `None` if the machine has a single one.
    pair: Option<(u32, u32)>,
    /// What the processor calls itself.
    pub(super) model: String,
}

impl Cores {
    /// Takes the first two cores this program may run on, and moves this program to the second.
    pub(super) fn take() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let cores = list(allowed.context("the system does not tell which cores are ours")?.trim());
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let model = model.unwrap_or("a processor without a name").to_owned();
        let pair = match (cores.first(), cores.get(1)) {
            (Some(first), Some(second)) if shell::exists("taskset") => Some((*first, *second)),
            _ => None,
        };
        if let Some((_, ours)) = pair {
            let (core, process) = (ours.to_string(), std::process::id().to_string());
            shell::read(shell::command("taskset").args(["-a", "-p", "-c", &core, &process]))?;
        }
        Ok(Self { pair, model })
    }

    /// Whether the proxy has a core of its own.
    pub(super) fn is_paired(&self) -> bool {
        self.pair.is_some()
    }

    /// The core of the proxy; `None` if the machine has a single one.
    pub(super) fn of_the_proxy(&self) -> Option<u32> {
        self.pair.map(|(proxy, _)| proxy)
    }

    /// A command on the core of the proxy.
    pub(super) fn proxy(&self, program: &str) -> Command {
        self.on(self.of_the_proxy(), program)
    }

    /// A command on the core of everything else.
    pub(super) fn other(&self, program: &str) -> Command {
        self.on(self.pair.map(|(_, other)| other), program)
    }

    fn on(&self, core: Option<u32>, program: &str) -> Command {
        let Some(core) = core else { return shell::command(program) };
        let mut command = shell::command("taskset");
        command.args(["-c", &core.to_string(), program]);
        command
    }
}

/// Cores of a list such as `0-3,8`.
fn list(text: &str) -> Vec<u32> {
    let ranges = text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_of_cores() {
        assert_eq!(super::list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(super::list("3"), [3]);
        assert!(super::list("").is_empty());
    }
}
