//! What an exchange with five policies allocates, counted in the program itself.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::mesh::{Mesh, Policies};
use super::peers::Peers;
use super::report::{Bar, Report};
use super::{Bench, median, wrk};

/// Calls and bytes so far.
struct Counted {
    calls: u64,
    bytes: u64,
}

/// Counts over one turn after another.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
    let headers = mesh.headers()?;
    let counts = tempfile::NamedTempFile::new()?;
    fs::write(counts.path(), [0; 16])?;
    let library = bench.binary.with_file_name("libtamis_allocations.so");
    let running = mesh.counted(bench, &library, counts.path())?;
    wrk::run(bench, &running.address, &headers, 1)?;
    let (mut calls, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(3) {
        let before = read(counts.path())?;
        let turn = wrk::run(bench, &running.address, &headers, 1)?;
        let after = read(counts.path())?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = |before: u64, after: u64| (after - before) as f64 / turn.requests.max(1) as f64;
        calls.push(each(before.calls, after.calls));
        bytes.push(each(before.bytes, after.bytes));
    }
    anyhow::ensure!(median(&calls) > 0.0, "{} counted nothing", library.display());
    let what = "allocations of an exchange, five policies";
    report.figure("A1", what, "", &calls, Bar::at_most(6.0));
    report.figure("", "what they ask for", "bytes", &bytes, Bar::none());
    Ok(())
}

fn read(path: &Path) -> Result<Counted> {
    let octets = fs::read(path)?;
    let number = |at: usize| -> Option<u64> {
        Some(u64::from_ne_bytes(octets.get(at..at + 8)?.try_into().ok()?))
    };
    let counted = number(0).zip(number(8)).context("the counts are not readable")?;
    Ok(Counted { calls: counted.0, bytes: counted.1 })
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_are_two_numbers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let octets: Vec<u8> = [7_u64, 700].iter().flat_map(|it| it.to_ne_bytes()).collect();
        std::fs::write(file.path(), &octets).unwrap();
        let counted = super::read(file.path()).unwrap();
        assert_eq!((counted.calls, counted.bytes), (7, 700));
        std::fs::write(file.path(), &octets[..9]).unwrap();
        assert!(super::read(file.path()).is_err());
    }
}
