//! P8: from the start of the program to the first response.

use std::time::Instant;

use anyhow::Result;

use super::Bench;
use super::mesh::{Mesh, Policies};
use super::peers::Peers;
use super::report::{Bar, Report};

/// Starts it with nothing compiled, then with everything, in turn.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
    let start = || -> Result<f64> {
        let began = Instant::now();
        mesh.gateway(bench, false)?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        mesh.forget_compiled()?;
        cold.push(start()?);
        warm.push(start()?);
    }
    let what = "from start to the first proxied response, five policies";
    report.figure("P8", &format!("{what}, compiled before"), "ms", &warm, Bar::at_most(100.0));
    report.figure("P8", &format!("{what}, nothing compiled"), "ms", &cold, Bar::at_most(800.0));
    Ok(())
}
