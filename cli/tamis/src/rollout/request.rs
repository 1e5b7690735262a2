//! The description of a rollout, from arguments or from a file.

use crate::named_file;
use crate::names::{self, Release};
use crate::remote::RegistryAccess;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use tamis_api::{Gates, OnBreach, RolloutRequest, ShadowRules, Wave};
use tamis_resources::{Millis, Problem, Resource, RolloutBreach, RolloutSpec, SourcePlace};

/// Arguments of `start`.
#[derive(clap::Args)]
pub(crate) struct RolloutStartArguments {
    /// Name; each rollout needs a new one.
    #[arg(required_unless_present = "file", requires = "release")]
    name: Option<String>,
    /// FILTER@VERSION, whose tag is resolved once, now; or FILTER@sha256:….
    #[arg(value_parser = names::release, value_name = "FILTER@VERSION")]
    release: Option<Release>,
    /// File with the rollout (kind: Rollout), instead of arguments.
    #[arg(short, long, conflicts_with_all = ["name", "release", "service", "wave", "from", "min_exchanges", "max_trap_rate", "max_5xx_delta", "max_denial_delta", "max_added_p99_ms", "max_refusals", "shadow_samples", "shadow_differences", "on_breach", "progress_deadline"])]
    file: Option<PathBuf>,
    /// Service or gateway, NAMESPACE/NAME; may be repeated; a single `*` means all that have the old digest
    /// pinned.
    #[arg(long, value_parser = names::service, required_unless_present = "file")]
    service: Vec<String>,
    /// PERCENT or PERCENT:BAKE: the share of all proxies, and how long gates must hold there, such as
    /// 10:5m; may be repeated, in rising order up to 100.
    #[arg(long, value_parser = wave, required_unless_present = "file")]
    wave: Vec<Wave>,
    /// Digest that is pinned now, or its first digits, as `tamis pins` prints them; default: looked up.
    #[arg(long, value_parser = names::digest)]
    from: Option<String>,
    /// Exchanges needed before a rate is judged; default: 100.
    #[arg(long)]
    min_exchanges: Option<u64>,
    /// Gate: most faults per exchange, 0 to 1.
    #[arg(long)]
    max_trap_rate: Option<f64>,
    /// Gate: most by which its share of 5xx may exceed that of the old digest, 0 to 1.
    #[arg(long)]
    max_5xx_delta: Option<f64>,
    /// Gate: most by which its share of denials may differ from that of the old digest, up or down, 0 to 1.
    #[arg(long)]
    max_denial_delta: Option<f64>,
    /// Gate: most milliseconds that it may add at the 99th percentile over the old digest.
    #[arg(long)]
    max_added_p99_ms: Option<f64>,
    /// Gate: most slots that may refuse it.
    #[arg(long)]
    max_refusals: Option<u64>,
    /// Number of verdicts of the new digest that are compared in the shadow before it decides about requests.
    #[arg(long)]
    shadow_samples: Option<u64>,
    /// Most compared verdicts that may differ; default: 0.
    #[arg(long, requires = "shadow_samples")]
    shadow_differences: Option<u64>,
    /// What happens when a gate fails.
    #[arg(long, value_enum, default_value_t = Breach::Return)]
    on_breach: Breach,
    /// How long a step may go without a judgement after its bake time, before it is paused, such as 30m;
    /// default: 1h.
    #[arg(long, value_parser = duration)]
    progress_deadline: Option<u64>,
    /// Show the effect, with the number of proxies that each wave moves, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) at: RegistryAccess,
}

/// The reaction to a failed gate.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Breach {
    /// All proxies return at once.
    Return,
    /// It stays in its wave until somebody decides.
    Hold,
}

/// A time such as `30m`, in milliseconds.
fn duration(text: &str) -> Result<u64, String> {
    Millis::parse(text)
        .map(|it| it.0)
        .ok_or_else(|| "write a time such as 30s, 10m or 1h30m".to_owned())
}

/// `PERCENT[:BAKE]`.
fn wave(text: &str) -> Result<Wave, String> {
    let (percent, bake) = text.split_once(':').unwrap_or((text, "0s"));
    let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
    match (percent, Millis::parse(bake)) {
        (Some(percent), Some(Millis(bake_ms))) => Ok(Wave { percent, bake_ms }),
        _ => Err("write a wave as PERCENT or PERCENT:BAKE, such as 10:5m".to_owned()),
    }
}

impl RolloutStartArguments {
    /// The request to the control plane.
    pub(super) fn request(&self) -> Result<RolloutRequest> {
        if let Some(path) = &self.file {
            return Ok(RolloutRequest { dry_run: self.dry_run, ..read(path)? });
        }
        let (Some(name), Some(release)) = (&self.name, &self.release) else {
            bail!("a rollout needs a name and FILTER@VERSION, or a file")
        };
        let shadow = self.shadow_samples.map(|min_samples| ShadowRules {
            min_samples,
            max_differences: self.shadow_differences.unwrap_or(0),
        });
        Ok(RolloutRequest {
            name: name.clone(),
            filter: release.filter.clone(),
            from: self.from.clone(),
            version: release.version.clone(),
            digest: release.digest.clone(),
            services: self.service.clone(),
            waves: self.wave.clone(),
            gates: Gates {
                min_exchanges: self.min_exchanges,
                max_trap_rate: self.max_trap_rate,
                max_5xx_delta: self.max_5xx_delta,
                max_denial_delta: self.max_denial_delta,
                max_added_p99_ms: self.max_added_p99_ms,
                max_refusals: self.max_refusals,
            },
            shadow,
            on_breach: match self.on_breach {
                Breach::Return => OnBreach::Return,
                Breach::Hold => OnBreach::Hold,
            },
            progress_deadline_ms: self.progress_deadline,
            dry_run: self.dry_run,
        })
    }
}

fn read(path: &Path) -> Result<RolloutRequest> {
    let text = named_file::text(path)
        .with_context(|| format!("the rollout {} cannot be read", path.display()))?;
    parse(&path.display().to_string(), &text)
}

/// Reads the one document of a file, a `Rollout`.
fn parse(source: &str, text: &str) -> Result<RolloutRequest> {
    let (mut documents, problems) = tamis_resources::parse(source, text);
    if !problems.is_empty() {
        bail!("{}", problems.iter().map(line).collect::<Vec<_>>().join("; "));
    }
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        bail!("{source} must contain exactly one document, a Rollout");
    };
    let Resource::Rollout(spec) = document.resource else {
        bail!("{source} contains a {}, not a Rollout", document.kind());
    };
    Ok(request(document.metadata.name, spec))
}

fn line(problem: &Problem) -> String {
    let SourcePlace { source, line, column, .. } = &problem.place;
    let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{source}:{line}:{column}: {problem}{help}")
}

fn request(name: String, spec: RolloutSpec) -> RolloutRequest {
    let RolloutSpec {
        filter,
        from,
        version,
        digest,
        services,
        waves,
        gates,
        shadow,
        on_breach,
        progress_deadline,
    } = spec;
    let waves = waves
        .into_iter()
        .map(|wave| Wave { percent: wave.percent, bake_ms: wave.bake.map_or(0, |bake| bake.0) });
    RolloutRequest {
        name,
        filter,
        from,
        version,
        digest,
        services,
        waves: waves.collect(),
        gates: Gates {
            min_exchanges: gates.min_exchanges,
            max_trap_rate: gates.max_trap_rate,
            max_5xx_delta: gates.max_5xx_delta,
            max_denial_delta: gates.max_denial_delta,
            max_added_p99_ms: gates.max_added_p99_ms,
            max_refusals: gates.max_refusals,
        },
        shadow: shadow.map(|shadow| ShadowRules {
            min_samples: shadow.min_samples,
            max_differences: shadow.max_differences,
        }),
        on_breach: match on_breach {
            RolloutBreach::Return => OnBreach::Return,
            RolloutBreach::Hold => OnBreach::Hold,
        },
        progress_deadline_ms: progress_deadline.map(|deadline| deadline.0),
        dry_run: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        start: RolloutStartArguments,
    }

    fn line(text: &str) -> Result<RolloutRequest, clap::Error> {
        Line::try_parse_from(text.split(' ')).map(|line| line.start.request().unwrap())
    }

    const FILE: &str = "kind: Rollout\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: r }\nspec:\n  \
        filter: acme/retry\n  version: 1.4.2\n  services: [shop/a]\n  \
        waves: [{ percent: 10, bake: 5m }, { percent: 100 }]\n  gates: { maxTrapRate: 0.001 }\n  \
        shadow: { minSamples: 50, maxDifferences: 0 }\n  onBreach: hold\n  progressDeadline: 30m\n";

    #[test]
    fn arguments_and_a_file_say_the_same() {
        let by_line = line(
            "start r acme/retry@1.4.2 --service shop/a --wave 10:5m --wave 100 --max-trap-rate 0.001 \
             --shadow-samples 50 --on-breach hold --progress-deadline 30m",
        );
        assert_eq!(by_line.unwrap(), parse("r.yaml", FILE).unwrap());
    }

    #[test]
    fn a_rollout_without_what_it_needs_is_refused() {
        for text in [
            "start",
            "start r",
            "start r acme/retry --service a --wave 100",
            "start r acme/retry@1.4.2 --wave 100",
            "start r acme/retry@1.4.2 --service a",
            "start r acme/retry@1.4.2 --service a --wave 0",
            "start r acme/retry@1.4.2 --service a --wave 100:soon",
            "start -f r.yaml r acme/retry@1.4.2",
        ] {
            assert!(line(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_told_what_is_wrong_with_it() {
        let said = |from: &str, to: &str| {
            let text = FILE.replace(from, to);
            format!("{:#}", parse("r.yaml", &text).unwrap_err())
        };
        assert!(said("kind: Rollout", "kind: Rolout").contains("did you mean `Rollout`?"));
        assert!(said("maxTrapRate", "maxTraps").contains("r.yaml:9:"));
        assert!(said("5m", "soon").contains("1h30m"));
        let service = "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\nspec: { ports: [] }\n";
        let error = parse("r.yaml", service).unwrap_err().to_string();
        assert!(error.contains("Rollout") || error.contains("ports"), "{error}");
        assert!(parse("r.yaml", "").unwrap_err().to_string().contains("one document"));
    }
}
