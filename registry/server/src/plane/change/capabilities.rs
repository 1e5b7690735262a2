//! What a filter may do that the previous one could not.

use std::sync::Arc;

use bytes::Bytes;
use tamis_api::{ApiProblem, GrowthView};

use crate::plane::control::Control;
use crate::plane::control::artifacts::ReplacedComponent;
use crate::plane::control::compute_turns::{CallerPresence, ComputingPlace, Size};

/// Configurations that are compared before somebody may have left: each runs both components.
const COMPARED: usize = 16;

impl Control {
    /// What a component may do and the one that it replaces could not, under these configurations; empty when it replaces
    /// none.
    pub(crate) async fn capabilities_added(
        &self,
        place: impl Into<ComputingPlace<'_>>,
        before: Option<ReplacedComponent>,
        after: Bytes,
        configs: Vec<String>,
    ) -> Result<Vec<GrowthView>, ApiProblem> {
        let before = match before {
            None => return Ok(Vec::new()),
            Some(ReplacedComponent::Gone(digest)) => {
                let what = format!("{digest} is no longer stored, so they cannot be compared");
                return Ok(vec![GrowthView { kind: "unknown".to_owned(), what }]);
            }
            Some(ReplacedComponent::Stored(before)) => before,
        };
        let size = if configs.len() <= COMPARED { Size::Small } else { Size::Large };
        let examine = Arc::clone(&self.0.examine);
        let compare = move |caller: &CallerPresence| {
            let mut added: Vec<GrowthView> = Vec::new();
            for some in configs.chunks(COMPARED) {
                caller.check_caller()?;
                let found = examine.capabilities_added(&before, &after, some);
                let fresh: Vec<_> = found.into_iter().filter(|one| !added.contains(one)).collect();
                added.extend(fresh);
            }
            Ok(added)
        };
        self.compute(self.turn_in(place.into().sized(size)).await?, compare).await?
    }
}
