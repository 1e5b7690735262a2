//! The parts embedded in the binary: the built-in filters, the SDK, the contract.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tamis_resources::suggest;
use tamis_trust::{Name, Version};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

pub(crate) use embedded::{SDK, WIT};

/// A built-in filter.
pub(crate) struct Builtin {
    /// `tamis/NAME`.
    pub(crate) name: String,
    /// Its release.
    pub(crate) version: String,
    /// Description in one line.
    pub(crate) description: String,
    /// World of the contract.
    pub(crate) world: Option<String>,
    /// The component.
    pub(crate) component: &'static [u8],
}

/// `filter.yaml`: what the author of a filter declares about it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// `namespace/name`.
    pub(crate) name: String,
    /// Semantic version.
    pub(crate) version: String,
    /// A sentence for people.
    #[serde(default)]
    pub(crate) description: String,
    /// World of the contract that the filter is written for.
    #[serde(default)]
    pub(crate) world: Option<String>,
    /// Former name of `world`.
    #[serde(default)]
    role: Option<serde::de::IgnoredAny>,
    /// Its configuration.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the format, for editors")]
    pub(crate) config: ConfigDescription,
}

impl Description {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// Names the invalid field and the values it may have.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let description: Self = serde_norway::from_str(text)?;
        if description.role.is_some() {
            bail!("`role` is called `world` now, as in the contract and in a Filter; {}", known());
        }
        description.name.parse::<Name>().context("`name`")?;
        description.version.parse::<Version>().context("`version`")?;
        if let Some(world) = &description.world
            && !worlds().contains(world)
        {
            let worlds = worlds();
            let names: Vec<&str> = worlds.iter().map(String::as_str).collect();
            let at = line_of(text, "world").map(|at| format!("line {at}: ")).unwrap_or_default();
            bail!("{at}the contract has no world `{world}`; {}", suggest(world, &names));
        }
        Ok(description)
    }
}

/// The line, from 1, on which a field of a description stands.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let is = |line: &str| line.strip_prefix(field).is_some_and(|rest| rest.starts_with(':'));
    Some(text.lines().position(is)?.saturating_add(1))
}

/// The worlds of the contract, as a Filter may name them.
pub(crate) fn worlds() -> Vec<String> {
    let schema = tamis_resources::schemas().into_iter().find(|(kind, _)| *kind == "Filter");
    let world = schema.and_then(|(_, schema)| {
        schema.pointer("/properties/spec/properties/world/enum").and_then(Value::as_array).cloned()
    });
    world.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn known() -> String {
    format!("worlds are {}", worlds().join(", "))
}

/// `config` of a description.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigDescription {
    /// Path of its JSON Schema.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the format, for editors")]
    pub(crate) schema: Option<String>,
}

/// All built-in filters.
pub(crate) fn all() -> Result<Vec<Builtin>> {
    embedded::FILTERS
        .iter()
        .map(|(file, component, description)| {
            let description = Description::parse(description)
                .with_context(|| format!("the description of the built-in filter {file}"))?;
            let Description { name, version, description, world, .. } = description;
            Ok(Builtin { name, version, description, world, component })
        })
        .collect()
}

#[cfg(test)]
mod tests;
