//! A Grant read from a file, for commands that check a component on a developer's machine.

use crate::named_file;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use tamis_engine::Grant;
use tamis_resources::{GrantSpec, Resource, grant_plan, parse};

/// The Grant in a file of documents: the only one, or that of `filter` (`namespace/name`, where it is
/// known).
///
/// # Errors
/// The file cannot be read, has a problem, or has no such Grant.
pub(crate) fn read(path: &Path, filter: Option<&str>) -> Result<Grant> {
    let shown = path.display();
    let text =
        named_file::text(path).with_context(|| format!("the grant {shown} cannot be read"))?;
    let (documents, problems) = parse(&shown.to_string(), &text);
    if let Some(problem) = problems.first() {
        let problem = problem.printable();
        let place = &problem.place;
        let help = problem.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        bail!("{}:{}:{}: {problem}{help}", place.source, place.line, place.column);
    }
    let grants: Vec<GrantSpec> = documents
        .into_iter()
        .filter_map(|document| match document.resource {
            Resource::Grant(spec) => Some(spec),
            _ => None,
        })
        .collect();
    let names = || grants.iter().map(|one| one.filter.as_str()).collect::<Vec<_>>().join(", ");
    let spec = match (grants.as_slice(), filter) {
        ([], _) => {
            bail!(
                "{shown} contains no Grant; the file must hold documents, as `tamis check` reads them"
            )
        }
        ([only], None) => only,
        (some, Some(filter)) => {
            some.iter().find(|one| one.filter == filter).with_context(|| {
                format!("{shown} contains no Grant for {filter}; it has Grants for {}", names())
            })?
        }
        (_, None) => bail!(
            "{shown} contains Grants for {}, and the component has no manifest that names its filter; give a file with one Grant",
            names()
        ),
    };
    let plan = serde_json::to_value(grant_plan(spec))?;
    serde_json::from_value(plan).with_context(|| format!("the Grant of {shown}"))
}

#[cfg(test)]
mod tests;
