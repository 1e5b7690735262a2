//! Metrics of this process that the system provides, under Prometheus' names.

use std::fs;

/// Ticks of the processor clock in a second, as the kernel reports them to programs (proc(5), `USER_HZ`).
const TICKS: f64 = 100.0;
/// Bytes of the unit in which `status` counts memory; `statm` counts pages, whose size differs.
const KIB: f64 = 1_024.0;

/// Name and value of each metric that is available here; unavailable ones are left out.
#[must_use]
pub fn process() -> Vec<(&'static str, f64)> {
    let mut all = Vec::new();
    let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
    let stat = read("self/stat");
    // The name of the program may contain anything; it ends at the last parenthesis (proc(5)).
    let fields: Vec<f64> = stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| {
        rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
    });
    let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        all.push(("process_cpu_seconds_total", (user + system) / TICKS));
    }
    let boot = read("stat");
    let boot =
        boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    if let (Some(boot), Some(started)) = (boot, field(22)) {
        all.push(("process_start_time_seconds", boot + started / TICKS));
    }
    let status = read("self/status");
    for (name, metric, unit) in [
        ("VmRSS:", "process_resident_memory_bytes", KIB),
        ("VmSize:", "process_virtual_memory_bytes", KIB),
        ("Threads:", "process_threads", 1.0),
    ] {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        all.extend(value.map(|value| (metric, value * unit)));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder being read.
        let count = u32::try_from(open.count()).unwrap_or(u32::MAX).saturating_sub(1);
        all.push(("process_open_fds", f64::from(count)));
    }
    let limits = read("self/limits");
    let most = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = most.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    all.extend(most.map(|most| ("process_max_fds", most)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_knows_of_a_process_is_told() {
        let all = process();
        let value = |name: &str| all.iter().find(|(one, _)| *one == name).map(|(_, value)| *value);
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
        ] {
            assert!(value(name).is_some_and(|value| value >= 0.0), "{name}: {all:?}");
        }
        assert!(value("process_resident_memory_bytes") > Some(100_000.0));
        assert!(value("process_start_time_seconds") > Some(1.5e9));
    }
}
