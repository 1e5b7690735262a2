//! `tamis filter diff`.

mod settings;

use self::settings::SettingChange;
use super::grants;
use super::trial::{NO_CONFIG, Trial};
use crate::named_file;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tamis_engine::{
    Authority, AuthorityGrowth, Contract, Declaration, DeclaredAccess, Grant, GrowthKind,
    Inspection,
};
use tamis_node::{StoredArtifact, false_claim};
use tamis_trust::{Digest, Manifest};

/// Exit code when the second component may do more than the first.
const GROWS: u8 = 3;

/// Arguments of `diff`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The component that is trusted today.
    a: PathBuf,
    /// The component that replaces it.
    b: PathBuf,
    /// File with the configuration (JSON) that both are asked about, as their attachment has it (`tamis filter inspect`);
    /// default: `{}`.
    #[arg(long)]
    config: Option<PathBuf>,
    /// File of documents with the Grant under which both are tried; default: everything is granted except
    /// hosts and secrets.
    #[arg(long)]
    grant: Option<PathBuf>,
}

/// Prints what the second may do and the first may not; exits with 3 if that is anything.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let compared = compare(arguments)?;
    output::result(output, &compared.json(), || compared.text());
    let grows = !compared.gained.is_empty();
    Ok(if grows { ExitCode::from(GROWS) } else { ExitCode::SUCCESS })
}

/// One of the two components.
struct Side {
    file: PathBuf,
    inspection: Inspection,
    authority: Authority,
    digest: Digest,
    /// The JSON Schema of its configuration; `Null`: it gives none, or could not be asked.
    schema: Value,
    /// Name and version, if there is a manifest next to it.
    called: Option<(String, String)>,
}

struct FilterComparison {
    a: Side,
    b: Side,
    gained: Vec<AuthorityGrowth>,
    lost: Vec<AuthorityGrowth>,
    /// How the configurations differ that they take; none while one of them is unknown.
    settings: Vec<SettingChange>,
}

fn compare(arguments: &Arguments) -> Result<FilterComparison> {
    let config = match &arguments.config {
        Some(path) => named_file::text(path)
            .with_context(|| format!("the configuration {} cannot be read", path.display()))?,
        None => NO_CONFIG.to_owned(),
    };
    serde_json::from_str::<serde::de::IgnoredAny>(&config)
        .context("the configuration is not JSON")?;
    let grant = arguments.grant.as_deref();
    let (a, b) = (side(&arguments.a, &config, grant)?, side(&arguments.b, &config, grant)?);
    // Identical bytes have identical capabilities, even undeclared ones.
    if a.digest == b.digest {
        let (gained, lost, settings) = (Vec::new(), Vec::new(), Vec::new());
        return Ok(FilterComparison { a, b, gained, lost, settings });
    }
    let gained = b.authority.grows_beyond(&a.authority);
    let mut lost = a.authority.grows_beyond(&b.authority);
    // An unknown may be a gain; report it once, not also as a loss.
    lost.retain(|one| one.kind != GrowthKind::Unknown);
    let known = a.is_known() && b.is_known();
    let settings = if known { settings::compare(&a.schema, &b.schema) } else { Vec::new() };
    Ok(FilterComparison { a, b, gained, lost, settings })
}

fn side(path: &Path, config: &str, grant: Option<&Path>) -> Result<Side> {
    let octets = named_file::component(path)
        .with_context(|| format!("the component {} cannot be read", path.display()))?;
    let inspection =
        tamis_engine::inspect(&octets).with_context(|| format!("{}", path.display()))?;
    // A manifest is optional, but a wrong one would mislead the reader about the comparison.
    let called = match StoredArtifact::read(path) {
        Ok(artifact) => Some(called(&artifact, &inspection).with_context(|| {
            format!("the manifest next to {} belongs to another component", path.display())
        })?),
        Err(_) => None,
    };
    let name = called.as_ref().map(|it| it.0.as_str());
    let granted = match grant {
        Some(grant) => grants::read(grant, name)?,
        None => Grant::everything(),
    };
    let busy = output::busy(format!("compiling {}", path.display()));
    let shown = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.unwrap_or(&shown);
    let trial = Trial { name, config, grant: granted, grant_file: grant };
    let (declaration, schema) = match trial.run(&octets, &inspection) {
        Ok(filter) => {
            let schema = serde_json::from_str(filter.config_schema()).unwrap_or_default();
            (Declaration::Known(DeclaredAccess::of(&filter)), schema)
        }
        Err(why) => (Declaration::Unknown(why), Value::Null),
    };
    drop(busy);
    let authority = Authority::new(&inspection, declaration);
    let digest = Digest::of(&octets);
    Ok(Side { file: path.to_owned(), inspection, authority, digest, schema, called })
}

fn called(artifact: &StoredArtifact, inspection: &Inspection) -> Result<(String, String)> {
    let manifest = Manifest::parse(&artifact.manifest)?;
    manifest.check(&artifact.component)?;
    let claims = inspection.check_claims(manifest.imports(), manifest.exports());
    claims.map_err(|claim| anyhow!("{}", false_claim(&claim)))?;
    Ok((manifest.name().to_string(), manifest.version().to_string()))
}

impl Side {
    fn json(&self) -> Value {
        let called = |at: fn(&(String, String)) -> &String| self.called.as_ref().map(at);
        json!({
            "file": self.file,
            "name": called(|it| &it.0),
            "version": called(|it| &it.1),
            "componentDigest": self.digest.to_string(),
            "size": self.inspection.size,
            "contract": self.inspection.contract.as_str(),
            "declares": match &self.authority.declaration {
                Declaration::Known(_) => json!({ "known": true }),
                Declaration::Unknown(why) => json!({ "known": false, "error": why }),
            },
        })
    }

    /// Whether it could be asked what it declares.
    fn is_known(&self) -> bool {
        matches!(self.authority.declaration, Declaration::Known(_))
    }

    /// Why it is unknown what it declares; `None` if it is known.
    fn unknown_because(&self) -> Option<&str> {
        match &self.authority.declaration {
            Declaration::Unknown(why) => Some(why),
            Declaration::Known(_) => None,
        }
    }

    fn title(&self) -> String {
        match &self.called {
            Some((name, version)) => format!("{name} {version}"),
            None => self.file.display().to_string(),
        }
    }
}

impl FilterComparison {
    fn json(&self) -> Value {
        let (a, b) = (&self.a.inspection.wasi, &self.b.inspection.wasi);
        json!({
            "grows": !self.gained.is_empty(),
            "gained": self.gained,
            "lost": self.lost,
            "settings": self.settings,
            "moving": self.moving(),
            "wasi": { "gained": only(b, a), "lost": only(a, b) },
            "a": self.a.json(),
            "b": self.b.json(),
        })
    }

    /// Why what one of them declares is unknown, for each that could not be asked; none if both are the same bytes.
    fn failed(&self) -> Vec<&str> {
        if self.a.digest == self.b.digest {
            return Vec::new();
        }
        let mut all: Vec<&str> =
            [&self.a, &self.b].into_iter().filter_map(Side::unknown_because).collect();
        all.dedup();
        all
    }

    /// What the author of the second has to change to move it to the newest contract.
    fn moving(&self) -> Vec<&'static str> {
        self.b.inspection.contract.moving(&self.b.inspection.hooks)
    }

    fn text(&self) -> String {
        let (a, b) = (&self.a.inspection, &self.b.inspection);
        let mut text = format!("{} -> {}\n", self.a.title(), self.b.title());
        let failed = self.failed();
        for why in &failed {
            let _ = writeln!(text, "! {why}");
        }
        for growth in self.gained.iter().filter(|one| one.kind != GrowthKind::Unknown) {
            let _ = writeln!(text, "+ {growth}");
        }
        for loss in &self.lost {
            let _ = writeln!(text, "- {loss}");
        }
        for (sign, wasi) in [('+', only(&b.wasi, &a.wasi)), ('-', only(&a.wasi, &b.wasi))] {
            for import in wasi {
                let _ = writeln!(text, "{sign} {import} (inert: linked to an empty world)");
            }
        }
        if a.contract != b.contract {
            let _ = writeln!(text, "contract {} -> {}", a.contract, b.contract);
        }
        text.push_str(&settings::text(&self.settings));
        let _ = writeln!(text, "size {} -> {} bytes", a.size, b.size);
        let steps = self.moving();
        if !steps.is_empty() {
            let newest = Contract::NEWEST;
            let _ = writeln!(text, "it is of contract {}; to move it to {newest}:", b.contract);
            for step in steps {
                let _ = writeln!(text, "  {step}");
            }
        }
        if !self.settings.is_empty() {
            text.push_str("a configuration of the one may be wrong for the other: `tamis check` and `tamis apply` ask the filter\n");
        }
        if !failed.is_empty() {
            text.push_str("a component that does not start declares nothing and lists no settings, so there is nothing to compare, and the second counts as one that may do more: correct what is marked with `!` and compare again");
            return text;
        }
        text.push_str(match self.gained.len() {
            0 => "it may do nothing more than before",
            _ => "it may do more than before",
        });
        text
    }
}

/// Names of `these` that `those` lacks.
fn only<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    these.iter().filter(|name| !those.contains(name)).collect()
}

#[cfg(test)]
mod tests;
