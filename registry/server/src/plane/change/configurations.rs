//! Whether filters that a change starts would run: with their grants, and with their configurations.

use std::collections::BTreeSet;
use std::sync::Arc;

use tamis_api::ApiProblem;
use tamis_director::TrustChange;
use tamis_resources::plan::FilterPlan;
use tamis_resources::{RouteFault, ValidationFaults, crowded, namespace_shares};
use tamis_trust::{Digest, Refused, SignaturePolicy};

use super::planned::PlannedChange;
use crate::plane::component_examiner::ComponentExaminer;
use crate::plane::control::artifacts::WholeArtifact;
use crate::plane::control::compute_turns::{CallerPresence, ComputingPlace};
use crate::plane::control::{Control, ControlInner};
use crate::plane::problem::refused;

/// The filters that a change starts.
pub(super) struct StartedFilters<'a> {
    pub(super) plans: &'a [Arc<FilterPlan>],
    /// An artifact that was read for the change already; the others are read.
    pub(super) read: Option<&'a WholeArtifact>,
    /// The trust policies that the change changes; `None`: those in force count.
    pub(super) trust: Option<&'a TrustChange>,
    /// The namespaces whose routes are also compared with the share of a namespace in its router.
    pub(super) changed: &'a BTreeSet<String>,
}

impl Control {
    /// Whether the filters that a change of pins starts would run in every place: with the grant there, and with the
    /// configuration. A change that cannot be made at all is refused, with its reason, where it is made. `read` was read for
    /// the change already.
    pub(crate) async fn check_configurations(
        &self,
        place: impl Into<ComputingPlace<'_>>,
        planned: &PlannedChange,
        read: Option<&WholeArtifact>,
    ) -> Result<(), ApiProblem> {
        let refusals = self.refused_configurations(place.into(), planned, read).await?;
        if refusals.is_empty() { Ok(()) } else { Err(refused(refusals)) }
    }

    /// The same, with all that refuses it.
    pub(crate) async fn refused_configurations(
        &self,
        place: ComputingPlace<'_>,
        planned: &PlannedChange,
        read: Option<&WholeArtifact>,
    ) -> Result<Vec<Refused>, ApiProblem> {
        let Some(effect) = &planned.effect else { return Ok(Vec::new()) };
        let mut refusals = Vec::new();
        let (plans, changed) = (&effect.fresh, &BTreeSet::new());
        let started = StartedFilters { plans, read, trust: effect.trust.as_ref(), changed };
        for (plan, result) in self.validate_filters(started, place).await? {
            refusals.extend(result.refusals(&plan));
        }
        Ok(refusals)
    }

    /// The policies that count after a change.
    fn policies_after(&self, trust: Option<&TrustChange>) -> Vec<SignaturePolicy> {
        match trust.filter(|_| self.0.policy.is_none()) {
            Some(trust) => trust.policies_after(),
            None => self.policies(&self.state()),
        }
    }

    /// What proxies would refuse of filters that would start to run, each with its plan: signatures that its
    /// grant asks for, imports, world, and the filter's own `validate` of the configuration. A component that
    /// is not here is skipped: a proxy that runs it reports the result.
    pub(super) async fn validate_filters(
        &self,
        StartedFilters { plans, read, trust, changed }: StartedFilters<'_>,
        place: ComputingPlace<'_>,
    ) -> Result<Vec<(Arc<FilterPlan>, ValidationResult)>, ApiProblem> {
        let mut all = Vec::new();
        let policies = self.policies_after(trust);
        for plan in plans {
            let Ok(digest) = plan.digest.parse::<Digest>() else { continue };
            let whole = match read.filter(|read| read.digest == digest) {
                Some(read) => read.clone(),
                None => match self.whole_artifact(&digest).await? {
                    Some(whole) => whole,
                    None => continue,
                },
            };
            let signed_by = plan.signed_by.as_ref();
            let unsigned =
                signed_by.and_then(|it| self.missing_signatures(plan, it, &whole, &policies));
            let component = whole.component;
            if let Some(refusal) = unsigned {
                all.push((Arc::clone(plan), ValidationResult::refused(refusal)));
                continue;
            }
            let (control, copy) = (self.clone(), Arc::clone(plan));
            let changed = changed.clone();
            let judge = move |_: &CallerPresence| validate(&control.0, &component, &copy, &changed);
            let result = self.compute(self.turn_in(place).await?, judge).await?;
            if !result.is_empty() {
                all.push((Arc::clone(plan), result));
            }
        }
        Ok(all)
    }
}

/// What proxies would refuse of a filter that would start to run.
#[derive(Default)]
pub(super) struct ValidationResult {
    /// What is refused as a whole, unless it is the configuration.
    pub(super) refused: Option<Refused>,
    /// Faults of the configuration.
    pub(super) faults: ValidationFaults,
    /// Faults of routes in it; the filter accepts the others.
    pub(super) left_out: Vec<RouteFault>,
    /// Why the routes of all owners do not fit together, although each does.
    pub(super) no_room: Option<String>,
}

impl ValidationResult {
    fn is_empty(&self) -> bool {
        self.refused.is_none()
            && self.faults.is_empty()
            && self.left_out.is_empty()
            && self.no_room.is_none()
    }

    fn refused(refused: Refused) -> Self {
        Self { refused: Some(refused), ..Self::default() }
    }

    /// Everything as rules that refuse the version in the place of this plan.
    fn refusals(self, plan: &FilterPlan) -> Vec<Refused> {
        let FilterPlan { filter, version, attachment, .. } = plan;
        let whole = self.refused.map(|one| Refused {
            rule: format!("{filter} {version} would not run in {attachment}: {}", one.rule),
            ..one
        });
        let dotted = |pointer: &str| pointer.trim_start_matches('/').replace('/', ".");
        let routes = self.left_out.into_iter().map(|one| {
            (format!("{} {} at `{}`", one.kind, one.route, dotted(&one.pointer)), one.message)
        });
        let faults = self.faults.into_iter().map(|(pointer, message)| {
            let at = dotted(&plan.config_place(&pointer));
            (format!("FilterAttachment {attachment} at `{at}`"), message)
        });
        let faults = faults.chain(routes).map(|(place, message)| Refused {
            code: "filter.configure".into(),
            rule: format!("{filter} {version} does not accept {place}: {message}"),
            set_by: filter.clone(),
            remedy:
                "change it there and apply the document first, or choose a version that accepts it"
                    .to_owned(),
        });
        whole
            .into_iter()
            .chain(faults)
            .chain(self.no_room.map(|rule| no_room(ROUTES_CODE, rule)))
            .collect()
    }
}

/// The routes of all owners would not fit into a router.
pub(super) const ROUTES_CODE: &str = "routes.no-room";
/// A proxy would have too much of one namespace, or of all.
pub(super) const PLAN_CODE: &str = "plan.no-room";

/// A rule that refuses a change after which what all owners have in a proxy would not fit into it.
pub(super) fn no_room(code: &'static str, rule: String) -> Refused {
    let (set_by, remedy) = if code == PLAN_CODE {
        (
            "the limits of a proxy that many namespaces share",
            "apply fewer attachments, or services with fewer endpoints",
        )
    } else {
        (
            "the limits of the router's grant, and of what a proxy gets in one piece",
            "apply fewer or shorter rules; for what a grant limits, ask the owner of the gateway to give the router more memory",
        )
    };
    Refused { code: code.into(), rule, set_by: set_by.to_owned(), remedy: remedy.to_owned() }
}

/// Bytes of routes that need no comparison with a share: a byte of a rule costs a router at most some hundreds.
const SMALL_ROUTES_BYTES: usize = 16 * 1024;

/// Why the routes of a changed namespace cost the router more memory than one namespace may have, which is half of it:
/// otherwise whoever comes first fills it, and the changes of all others are refused.
fn over_share(
    examine: &dyn ComponentExaminer,
    component: &[u8],
    plan: &FilterPlan,
    changed: &BTreeSet<String>,
) -> Option<String> {
    let shares = namespace_shares(&plan.config);
    let large = |routes: &serde_json::Value| routes.to_string().len() > SMALL_ROUTES_BYTES;
    let changed = shares.into_iter().filter(|(namespace, config)| {
        changed.contains(namespace) && config.get("routes").is_some_and(large)
    });
    for (namespace, config) in changed {
        let alone = FilterPlan { config: Arc::new(config), ..plan.clone() };
        let mut half = alone.clone();
        half.grant.limits.memory_bytes = plan.grant.limits.memory_bytes / 2;
        let whole = |plan: &FilterPlan| {
            let faults = examine.validate(component, plan).err()?.places();
            faults.into_iter().find(|(place, _)| place.is_empty()).map(|(_, message)| message)
        };
        // What the router does not take with all of its memory is judged like any other fault.
        if let Some(message) = whole(&half)
            && whole(&alone).is_none()
        {
            return Some(format!(
                "the routes of namespace {namespace} alone need more than half of the router's memory: {message}"
            ));
        }
    }
    None
}

fn validate(
    control: &ControlInner,
    component: &[u8],
    plan: &FilterPlan,
    changed: &BTreeSet<String>,
) -> ValidationResult {
    let examine = &*control.examine;
    let no_room = crowded(&plan.config).or_else(|| over_share(examine, component, plan, changed));
    if no_room.is_some() {
        return ValidationResult { no_room, ..ValidationResult::default() };
    }
    let faults = match examine.validate(component, plan) {
        Ok(()) => return ValidationResult::default(),
        Err(faults) if faults.places.is_empty() => {
            return ValidationResult::refused(faults.refused);
        }
        Err(faults) => faults.places,
    };
    if !plan.config.get("routes").is_some_and(serde_json::Value::is_array) {
        return ValidationResult { faults, ..ValidationResult::default() };
    }
    let mut ask = |config: &serde_json::Value| {
        let plan = FilterPlan { config: Arc::new(config.clone()), ..plan.clone() };
        examine
            .validate(component, &plan)
            .err()
            .map_or_else(ValidationFaults::new, |faults| faults.places())
    };
    let (sound, mut left_out) = control.routers.sound_routes(plan, &mut ask);
    let faults = if left_out.is_empty() { faults } else { ask(&sound) };
    let no_room = left_out.iter().find(|one| one.together).map(|one| one.message.clone());
    left_out.retain(|one| !one.together);
    ValidationResult { faults, left_out, no_room, ..ValidationResult::default() }
}
