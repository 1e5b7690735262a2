//! Looks into components for the control plane: this binary has the engine, the control plane has not.

use crate::filter::configured;
use tamis_api::Grown;
use tamis_engine::{Authority, Declaration, Declared, Growth};
use tamis_node::check_claims;
use tamis_server::Examine;
use tamis_trust::{Manifest, Refused, code};

/// The engine of this binary.
pub(crate) struct Engine;

impl Examine for Engine {
    fn claims(&self, manifest: &Manifest, component: &[u8]) -> Result<(), Refused> {
        let inspection = tamis_engine::inspect(component).map_err(|error| Refused {
            code: code::FORMAT,
            rule: format!("the component must be a filter ({error})"),
            set_by: "the artifact format".to_owned(),
            remedy: "build it again; `tamis filter inspect` says what it is".to_owned(),
        })?;
        check_claims(manifest, &inspection)
    }

    fn grown(&self, before: &[u8], after: &[u8], configs: &[String]) -> Vec<Grown> {
        let mut grown: Vec<Growth> = Vec::new();
        for config in configs {
            match (authority(before, config), authority(after, config)) {
                (Some(before), Some(after)) => grown.extend(after.grows_beyond(&before)),
                // A component that is none was refused before; one that was none could do nothing.
                _ => continue,
            }
        }
        grown.sort();
        grown.dedup();
        let told = grown.into_iter();
        told.map(|one| Grown { kind: one.kind.as_str().to_owned(), what: one.what }).collect()
    }
}

fn authority(component: &[u8], config: &str) -> Option<Authority> {
    let inspection = tamis_engine::inspect(component).ok()?;
    let declaration = match configured(component, config) {
        Ok(filter) => Declaration::Known(Declared::of(&filter)),
        Err(why) => Declaration::Unknown(why),
    };
    Some(Authority::new(&inspection, declaration))
}
