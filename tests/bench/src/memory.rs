//! P7: resident memory of a sidecar.

use anyhow::Result;

use super::Bench;
use super::mesh::{Mesh, Policies, template};
use super::peers::Peers;
use super::report::{Bar, Report};

/// Takes it after requests were served, with more routes, and with more workers.
pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let peers = Peers::install()?;
    let backend = peers.backend(bench)?;
    let mesh = Mesh::new(bench, &backend.address, Policies::Five)?;
    for (id, routes, workers, bar) in
        [("P7", 2, 1, Bar::at_most(45.0)), ("", 2, 4, Bar::none()), ("", 1_000, 1, Bar::none())]
    {
        mesh.write("routes.yaml", &rules(routes)?)?;
        let sidecar = mesh.sidecar(bench, workers)?;
        let mib = |name: &str| -> Result<f64> {
            #[expect(clippy::cast_precision_loss, reason = "memory of a machine")]
            Ok(sidecar.memory_kib(name)? as f64 / 1024.0)
        };
        let what = format!(
            "resident memory of a sidecar, five policies, {routes} rules, {workers} workers"
        );
        report.figure(id, &what, "MiB", &[mib("Rss")?], bar);
        report.figure(
            "",
            "  of it anonymous: not shared with another sidecar",
            "MiB",
            &[mib("Anonymous")?],
            Bar::none(),
        );
    }
    Ok(())
}

/// The document of routes with so many rules.
fn rules(count: usize) -> Result<String> {
    let text = template("routes.yaml")?;
    let (head, tail) = text.split_once("    - { name: all").unwrap_or((&text, ""));
    let more: String = (2..count)
        .map(|n| {
            format!(
                "    - {{ name: r{n}, matches: [{{ path: {{ type: PathPrefix, value: /r/{n} }} }}], \
                 backendRefs: [{{ name: app, port: 80 }}] }}\n"
            )
        })
        .collect();
    // A route of the Gateway API holds 16 rules at most.
    Ok(format!("{head}{more}    - {{ name: all{tail}"))
}
