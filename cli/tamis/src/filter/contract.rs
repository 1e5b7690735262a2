//! The worlds of the contract, read from `wit/worlds.wit`: the hooks and capabilities of each.

use crate::builtin::WIT;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use tamis_engine::Inspection;

/// The content of a world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WorldShape {
    /// Hooks and `lifecycle`.
    pub(super) exports: BTreeSet<String>,
    /// Capabilities.
    pub(super) imports: BTreeSet<String>,
}

/// Every world by its name.
pub(super) fn worlds() -> BTreeMap<String, WorldShape> {
    let text = WIT.iter().find(|(path, _)| *path == "worlds.wit").map_or("", |(_, text)| *text);
    read(text)
}

/// Reads worlds in the order of the file: a world includes only earlier ones.
fn read(text: &str) -> BTreeMap<String, WorldShape> {
    let mut worlds: BTreeMap<String, WorldShape> = BTreeMap::new();
    for block in text.split("\nworld ").skip(1) {
        let Some((name, body)) = block.split_once('{') else { continue };
        let body = body.split('}').next().unwrap_or_default();
        let mut shape = WorldShape::default();
        for line in body.lines().map(str::trim) {
            let Some((word, what)) = line.trim_end_matches(';').split_once(' ') else { continue };
            match word {
                "include" => {
                    let part = worlds.get(what).cloned().unwrap_or_default();
                    shape.exports.extend(part.exports);
                    shape.imports.extend(part.imports);
                }
                "import" => drop(shape.imports.insert(what.to_owned())),
                "export" => drop(shape.exports.insert(what.to_owned())),
                _ => {}
            }
        }
        worlds.insert(name.trim().to_owned(), shape);
    }
    worlds
}

/// The worlds to which `deciding-connections` may be added; a proxy takes it there, too.
const MAY_DECIDE_CONNECTIONS: [&str; 2] = ["authorizer", "refreshing-authorizer"];

/// Refuses a component that has more than the world its author names: a reader of the world would not
/// expect it.
///
/// # Errors
/// Names the hooks and capabilities that are not in the world, and the worlds that have them all.
pub(super) fn fits(inspection: &Inspection, world: &str) -> Result<()> {
    let mut worlds = worlds();
    let added = worlds.get("deciding-connections").cloned().unwrap_or_default();
    for name in MAY_DECIDE_CONNECTIONS {
        worlds.entry(name.to_owned()).or_default().exports.extend(added.exports.iter().cloned());
    }
    let Some(shape) = worlds.get(world) else { return Ok(()) };
    let more = more(inspection, shape);
    if more.is_empty() {
        return Ok(());
    }
    let others = worlds.iter().filter(|(_, shape)| self::more(inspection, shape).is_empty());
    let others: Vec<&str> = others.map(|(name, _)| name.as_str()).collect();
    bail!(
        "it has {}, which the world `{world}` of its filter.yaml does not have; name one that has: {}",
        more.join(", "),
        others.join(", ")
    )
}

fn more(inspection: &Inspection, shape: &WorldShape) -> Vec<String> {
    let hooks = inspection.hooks.iter().map(|hook| hook.as_str());
    let hooks = hooks.filter(|hook| !shape.exports.contains(*hook));
    let imports = inspection.imports.iter().filter(|import| !shape.imports.contains(*import));
    hooks
        .map(|hook| format!("the hook `{hook}`"))
        .chain(imports.map(|import| format!("the capability `{import}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_engine::Hook;

    fn found(hooks: &[Hook], imports: &[&str]) -> Inspection {
        let imports = imports.iter().map(ToString::to_string).collect();
        Inspection {
            contract: tamis_engine::Contract::NEWEST,
            hooks: hooks.to_vec(),
            imports,
            wasi: vec![],
            others: vec![],
            size: 0,
        }
    }

    #[test]
    fn the_worlds_are_those_that_a_filter_may_name() {
        let mut names: Vec<String> = worlds().into_keys().collect();
        // Worlds that others include; no filter is written for them.
        let included = ["base", "ticking", "seeing-trailers", "deciding-connections"];
        names.retain(|name| !included.contains(&name.as_str()));
        let mut known = crate::builtin::worlds();
        known.sort();
        assert_eq!(names, known);
        let every = &worlds()["everything"];
        for hook in Hook::ALL {
            assert!(every.exports.contains(hook.as_str()), "{}", hook.as_str());
        }
    }

    #[test]
    fn a_component_that_has_more_than_its_world_is_refused_with_what_and_where_it_fits() {
        for (hooks, imports, world, says) in [
            (&[Hook::Request][..], &["kv"][..], "authorizer", ""),
            (&[Hook::Request, Hook::Tick], &["kv"], "refreshing-authorizer", ""),
            (&[Hook::Request, Hook::Connection], &["kv"], "authorizer", ""),
            (&[Hook::Request, Hook::Connection], &[], "head-policy", "the hook `connection`"),
            (&[Hook::Request, Hook::RequestBody], &[], "authorizer", "the hook `request-body`"),
            (&[Hook::Retry], &["http-client"], "retry-policy", "the capability `http-client`"),
            (&[Hook::Request, Hook::Response], &[], "authorizer", "head-policy"),
            (&[Hook::Request, Hook::Tick], &[], "authorizer", "refreshing-authorizer"),
        ] {
            let said = fits(&found(hooks, imports), world).err().map(|error| error.to_string());
            let said = said.unwrap_or_default();
            assert_eq!(said.is_empty(), says.is_empty(), "{world}: {said}");
            assert!(said.contains(says), "{world}: {said}");
        }
    }

    #[test]
    fn every_built_in_filter_fits_its_world() {
        for builtin in crate::builtin::all().unwrap() {
            let inspection = tamis_engine::inspect(builtin.component).unwrap();
            fits(&inspection, &builtin.world.unwrap()).unwrap();
        }
    }
}
