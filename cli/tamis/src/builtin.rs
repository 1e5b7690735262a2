//! What the binary carries: the built-in filters, the SDK, the contract.

use anyhow::{Context as _, Result};
use serde::Deserialize;

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
    /// The component.
    pub(crate) component: &'static [u8],
}

/// `filter.yaml`: what a filter's author says of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// `namespace/name`.
    pub(crate) name: String,
    /// Semantic version.
    pub(crate) version: String,
    /// For people.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the format, for catalogues")]
    pub(crate) description: String,
    /// World of the contract it is made for.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the format, for catalogues")]
    pub(crate) role: String,
    /// Its configuration.
    #[serde(default)]
    #[expect(dead_code, reason = "part of the format, for editors")]
    pub(crate) config: ConfigDescription,
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
            let description: Description = serde_norway::from_str(description)
                .with_context(|| format!("the description of the built-in filter {file}"))?;
            let Description { name, version, .. } = description;
            Ok(Builtin { name, version, component })
        })
        .collect()
}
