//! From a version to its digest.

use tamis_api::ApiProblem;
use tamis_director::State;
use tamis_oci::{Reference, Repository};
use tamis_resources::Resource;
use tamis_trust::{Digest, Name, Version};

use crate::plane::control::Control;
use crate::plane::problem::{bad, journal, missing};

impl Control {
    /// The current digest of a version of a filter: its tag, in the repository that its Filter document
    /// names or else in the one with the filter's name.
    pub(crate) async fn resolve(
        &self,
        filter: &Name,
        version: &Version,
    ) -> Result<Digest, ApiProblem> {
        let named = repository(&self.state(), filter);
        let place: Repository = named.parse().map_err(|_| {
            bad(
                format!("filter {filter} names repository {named:?}, which is not a valid repository name"),
                "correct `repository` of its Filter",
            )
        })?;
        let tag = version.to_string();
        let reference = tag.parse().map(Reference::Tag).map_err(|_| {
            bad(format!("the version {tag} cannot be a tag"), "use the digest instead")
        })?;
        let found = self.0.store.find(&place, &reference).await.map_err(|error| journal(&error))?;
        let found = found.ok_or_else(|| {
            missing(
                format!("{named}:{tag} does not exist"),
                format!("push it, with `tamis filter push COMPONENT {named}`, or pin an existing version"),
            )
        })?;
        let digest = found.to_string().parse();
        digest
            .map_err(|_| bad(format!("{named}:{tag} is {found}"), "push it with a SHA-256 digest"))
    }
}

/// The repository of a filter's artifacts.
pub(crate) fn repository(state: &State, filter: &Name) -> String {
    let document = state.documents().get(&format!("Filter/{filter}"));
    let named = document.and_then(|held| match held.resource() {
        Resource::Filter(spec) => spec.repository.clone(),
        _ => None,
    });
    named.unwrap_or_else(|| filter.to_string())
}
