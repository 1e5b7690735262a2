//! A process that is measured.

use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::steady;
use tamis_harness::Process;
use tamis_harness::shell;

/// A server under measurement; it ends when this is dropped.
pub(super) struct RunningServer {
    process: Process,
    /// Where it listens.
    pub(super) address: String,
}

impl RunningServer {
    /// Starts it and waits until it answers a request with 200.
    pub(super) fn start(command: Command, address: &str, headers: &str) -> Result<Self> {
        Self::wait_for(command, address, |address| steady::get(address, "/", headers))
    }

    /// Starts a proxy and waits until its admin listener at that address reports it as ready. Such a listener answers only those
    /// who name it by an address of its own.
    pub(super) fn start_admin(command: Command, address: &str) -> Result<Self> {
        let get = |address: &str| steady::get_from(address, "localhost", "/readyz", "");
        Self::wait_for(command, address, get)
    }

    fn wait_for(
        mut command: Command,
        address: &str,
        get: impl Fn(&str) -> Result<(u16, String)>,
    ) -> Result<Self> {
        let line = format!("{command:?}");
        // The output matters only on failure, and then its own log has it.
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("could not start {line}"))?;
        let mut running = Self { process: Process(child), address: address.to_owned() };
        running.wait(get).with_context(|| line)?;
        Ok(running)
    }

    fn wait(&mut self, get: impl Fn(&str) -> Result<(u16, String)>) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if get(&self.address).is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            if let Some(status) = self.process.0.try_wait()? {
                bail!("it ended before it answered ({status})");
            }
            if Instant::now() > until {
                bail!("it does not answer on {} with 200", self.address);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Processor time it has taken, user and system.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.process.0.id());
        ticks(&fs::read_to_string(&path)?)
            .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
            .with_context(|| format!("{path} is not readable"))
    }

    /// How often its threads went to sleep by themselves since the start: for each there was, or will be, a wake-up.
    pub(super) fn wakes(&self) -> Result<u64> {
        let mut wakes = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.0.id()))? {
            // A thread may have ended meanwhile.
            let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            wakes += voluntary(&status).unwrap_or(0);
        }
        Ok(wakes)
    }

    /// Starts it and waits until it accepts connections: it does not speak HTTP/1 without TLS.
    pub(super) fn start_listening(mut command: Command, address: &str) -> Result<Self> {
        let line = format!("{command:?}");
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("could not start {line}"))?;
        let mut running = Self { process: Process(child), address: address.to_owned() };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.process.0.try_wait()? {
                bail!("it ended before it listened ({status}): {line}");
            }
            if Instant::now() > until {
                bail!("it does not listen on {address}: {line}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(running)
    }

    /// A figure of `/proc/PID/smaps_rollup` or `status`, in KiB.
    pub(super) fn memory_kib(&self, name: &str) -> Result<u64> {
        let process = self.process.0.id();
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let mut lines = rollup.lines().chain(status.lines());
        let line = lines.find(|line| line.split(':').next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .with_context(|| format!("the system does not tell {name} of a process"))
    }
}

/// The unit of times in `/proc`: a constant of Linux's interface (`USER_HZ`, see proc(5) and sysconf(3)).
const TICKS_A_SECOND: u64 = 100;

/// `utime` and `stime`: fields 14 and 15 of proc_pid_stat(5); the second field may hold anything between parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// A line of proc_pid_status(5).
fn voluntary(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// The load of the machine over the last minute.
pub(super) fn load_average() -> String {
    let text = shell::read(shell::command("cat").arg("/proc/loadavg")).unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn sleeps_are_counted_without_those_that_were_forced() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(super::voluntary(status), Some(42));
        assert_eq!(super::voluntary("Name:\tx\n"), None);
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0";
        assert_eq!(super::ticks(stat), Some(100));
        assert_eq!(super::ticks("nonsense"), None);
    }
}
