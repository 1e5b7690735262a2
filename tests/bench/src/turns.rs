//! Proxies under the same load in turn, and what each request cost.

use anyhow::{Result, ensure};

use super::report::{Bar, Report};
use super::running::RunningServer;
use super::{Bench, median};

/// Requests of one turn.
pub(super) struct Load {
    pub(super) requests: u64,
    /// Median latency, microseconds; NaN if the load does not measure it.
    pub(super) p50_us: f64,
    /// 99th percentile.
    pub(super) p99_us: f64,
}

impl Load {
    /// So many requests, without latencies.
    pub(super) fn of(requests: u64) -> Self {
        Self { requests, p50_us: f64::NAN, p99_us: f64::NAN }
    }
}

/// One turn of one proxy.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// Processor time of its processes per request, microseconds.
    pub(super) cpu_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

type Send<'a> = Box<dyn Fn(u32) -> Result<Load> + 'a>;

struct Contender<'a> {
    name: String,
    processes: Vec<&'a RunningServer>,
    send: Send<'a>,
    turns: Vec<Turn>,
}

/// Proxies that take turns.
pub(super) struct Contest<'a>(Vec<Contender<'a>>);

impl<'a> Contest<'a> {
    /// Without proxies.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one. `send` sends requests through it for so many seconds; the time of all `processes` counts.
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        processes: Vec<&'a RunningServer>,
        send: impl Fn(u32) -> Result<Load> + 'a,
    ) {
        let (send, turns) = (Box::new(send), Vec::new());
        self.0.push(Contender { name: name.into(), processes, send, turns });
    }

    /// Lets each have its turn in every round; the first turn of each does not count.
    pub(super) fn run(&mut self, bench: &Bench) -> Result<()> {
        self.run_for(bench.rounds, bench.seconds)
    }

    /// The same, with so many rounds of turns of so many seconds.
    pub(super) fn run_for(&mut self, rounds: u32, seconds: u32) -> Result<()> {
        let all = self.0.len() * usize::try_from(1 + rounds * seconds)?;
        println!("    {} in turns: about {all} s", self.0.len());
        for contender in &mut self.0 {
            // Connections, caches and the branch predictor.
            (contender.send)(1)?;
        }
        for round in 0..rounds {
            println!("    round {} of {rounds}", round + 1);
            // The first proxy rotates, so that no proxy always follows the same noise.
            let first = usize::try_from(round)? % self.0.len().max(1);
            self.0.rotate_left(first);
            for contender in &mut self.0 {
                contender.take_turn(seconds)?;
            }
            self.0.rotate_right(first);
        }
        Ok(())
    }

    /// A figure of every proxy, for information.
    pub(super) fn report(
        &self,
        report: &mut Report,
        what: &str,
        unit: &'static str,
        value: fn(&Turn) -> f64,
    ) {
        for contender in &self.0 {
            let rounds: Vec<f64> = contender.turns.iter().map(value).collect();
            report.figure("", &format!("{what}, {}", contender.name), unit, &rounds, Bar::none());
        }
    }

    /// One proxy's value ÷ another's, in each round.
    pub(super) fn ratio(&self, ours: &str, theirs: &str, value: fn(&Turn) -> f64) -> Vec<f64> {
        let pairs = self.turns(ours).iter().zip(self.turns(theirs));
        pairs.map(|(ours, theirs)| value(ours) / value(theirs)).collect()
    }

    /// The one of these whose median is least.
    pub(super) fn best<'n>(&self, names: &[&'n str], value: fn(&Turn) -> f64) -> Option<&'n str> {
        let of = |name: &str| median(&self.turns(name).iter().map(value).collect::<Vec<_>>());
        names.iter().copied().min_by(|one, other| of(one).total_cmp(&of(other)))
    }

    fn turns(&self, name: &str) -> &[Turn] {
        self.0.iter().find(|one| one.name == name).map(|one| &*one.turns).unwrap_or_default()
    }
}

impl Contender<'_> {
    fn take_turn(&mut self, seconds: u32) -> Result<()> {
        let cpu = || -> Result<f64> {
            self.processes.iter().map(|one| Ok(one.cpu()?.as_secs_f64())).sum()
        };
        let before = cpu()?;
        let load = (self.send)(seconds)?;
        let took = cpu()? - before;
        ensure!(load.requests > 0, "{} served no request", self.name);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
        let cpu_us = took * 1e6 / load.requests as f64;
        self.turns.push(Turn { cpu_us, p50_us: load.p50_us, p99_us: load.p99_us });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let turn = |cpu_us| Turn { cpu_us, p50_us: 1.0, p99_us: 2.0 };
        let mut contest = Contest::new();
        for (name, turns) in [("a", [1.0, 8.0]), ("b", [2.0, 4.0]), ("c", [3.0, 5.0])] {
            contest.add(name, Vec::new(), |_| Ok(Load::of(1)));
            contest.0.last_mut().unwrap().turns = turns.map(turn).to_vec();
        }
        assert_eq!(contest.ratio("a", "b", |turn| turn.cpu_us), [0.5, 2.0]);
        assert_eq!(contest.best(&["b", "c"], |turn| turn.cpu_us), Some("b"));
        assert!(contest.ratio("a", "nobody", |turn| turn.cpu_us).is_empty());
    }
}
