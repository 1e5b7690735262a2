//! From a pin to an artifact that may run in a slot: found in the store, verified, allowed by its grant, compiled.

use super::{Builder, DesiredSlot, LastGoodFilter, Rules};
use crate::allowed::{allowed, by_proxy, check_claims, granted, refusal, uncovered_rules};
use crate::code::Code;
use crate::store::{StoreIndex, StoredArtifact};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use tamis_ambient::Clock;
use tamis_engine::{Cache, CompiledComponent, Engine, Inspection, inspect};
use tamis_proxy::Refused;
use tamis_resources::plan::FilterPlan;
use tamis_trust::{
    Digest, Manifest, Request, VerifiedFilter, bundle_lines, verify, verify_manifest,
};

/// The most artifacts of one digest that are looked at; nobody has more folders.
const MAX_COPIES: usize = 16;

/// An artifact that may run in a slot, and the parts to make the filter from.
pub(super) struct ProvenArtifact {
    pub(super) artifact: StoredArtifact,
    pub(super) verified: VerifiedFilter,
    pub(super) config: String,
    /// Identifies everything that the filter is made from.
    pub(super) key: String,
}

/// What compiles, and where the result is kept.
#[derive(Clone, Copy)]
pub(super) struct Compiler<'a> {
    pub(super) engine: &'a Engine,
    pub(super) cache: Option<&'a Cache>,
    pub(super) code: &'a Code,
}

impl Compiler<'_> {
    /// The code of a component that was compiled before; `key` is its digest.
    pub(super) fn known(self, key: &str) -> Option<CompiledComponent> {
        self.code.get(key)
    }

    /// Compiles a component, or reads its code from the cache.
    pub(super) fn compile(
        self,
        key: String,
        component: &[u8],
    ) -> Result<CompiledComponent, Refused> {
        let compiled =
            self.engine.compile(component, self.cache).map_err(|error| refusal(&error))?;
        self.code.keep(key, compiled.clone());
        Ok(compiled)
    }
}

impl Builder {
    /// From pin to an artifact that may run there.
    pub(super) fn proven(
        &self,
        wanted: &DesiredSlot<'_>,
        rules: Rules<'_>,
        index: &StoreIndex,
    ) -> Result<ProvenArtifact, Refused> {
        let plan = wanted.plan;
        if let Some(refusal) = &wanted.refused {
            return Err(refusal.clone());
        }
        if let Some(refused) = &plan.refused {
            return Err(refused.clone());
        }
        let pinned: Digest = plan.digest.parse().map_err(|error| {
            let rule = format!("the pin is not a digest: {error}");
            by_proxy("pin.missing", rule, "pin it by version, or copy the digest whole")
        })?;
        let paths = index.get(&pinned.to_string()).ok_or_else(|| {
            let folders: Vec<_> =
                self.store.folders().iter().map(|folder| folder.display().to_string()).collect();
            let folders = folders.join(", ");
            by_proxy(
                "artifact.missing",
                format!("no manifest in {folders} has the pinned digest {pinned}"),
                "store the artifact there, or pin another",
            )
        })?;
        let (artifact, verified) = self.first_proven(paths, &pinned, wanted, rules)?;
        let config = serde_json::to_string(&plan.config).unwrap_or_default();
        let grant = serde_json::to_string(&plan.grant).unwrap_or_default();
        let key = format!(
            "{pinned} {:?} {:?} {:?} {} {config} {grant}",
            plan.isolation, plan.on_failure, plan.world, plan.filter
        );
        Ok(ProvenArtifact { artifact, verified, config, key })
    }

    /// The first artifact that may run, of those that have the pinned manifest: a copy of the manifest beside another component,
    /// or without its signatures, takes no filter out of service. The refusal is that of the first.
    fn first_proven(
        &self,
        paths: &[PathBuf],
        pinned: &Digest,
        wanted: &DesiredSlot<'_>,
        rules: Rules<'_>,
    ) -> Result<(StoredArtifact, VerifiedFilter), Refused> {
        let mut first = None;
        for path in paths.iter().take(MAX_COPIES) {
            match self.proven_at(path, pinned, wanted, rules) {
                Ok(proven) => return Ok(proven),
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        let nothing = || by_proxy("artifact.missing", "the store changed meanwhile", "try again");
        Err(first.unwrap_or_else(nothing))
    }

    fn proven_at(
        &self,
        path: &Path,
        pinned: &Digest,
        wanted: &DesiredSlot<'_>,
        rules: Rules<'_>,
    ) -> Result<(StoredArtifact, VerifiedFilter), Refused> {
        let plan = wanted.plan;
        let artifact = StoredArtifact::read(path).map_err(|error| {
            by_proxy("artifact.unreadable", error, "store the artifact there again")
        })?;
        let lines = bundle_lines(&artifact.bundles);
        let signed =
            SignedManifest { manifest: &artifact.manifest, bundles: &lines, logged: wanted.logged };
        let request = request(pinned, signed, rules, Some(&plan.filter), self.clock)?;
        let verified = verify(&request, &artifact.component)?;
        if let Some(signed_by) = &plan.signed_by {
            verified.enough(&signed_by.keys, signed_by.threshold)?;
        }
        Ok((artifact, verified))
    }

    /// Whether what ran in a slot before may keep running there under the current policies.
    pub(super) fn may_keep_running(
        &self,
        good: &LastGoodFilter,
        plan: &FilterPlan,
        rules: Rules<'_>,
    ) -> bool {
        let lines = bundle_lines(&good.proof.bundles);
        let pinned = &good.verified.digest;
        // Staleness prevents new activations and stops nothing.
        let rules = Rules { age: Duration::ZERO, ..rules };
        let signed = SignedManifest {
            manifest: &good.proof.manifest,
            bundles: &lines,
            logged: &good.proof.logged,
        };
        request(pinned, signed, rules, Some(&plan.filter), self.clock)
            .is_ok_and(|request| verify_manifest(&request).is_ok())
            && uncovered_rules(&good.filter, plan).is_none()
            // A filter that receives policies stays only with its current configuration: an older one may allow
            // what a policy forbids.
            && (!plan.receives || good.config == plan.config)
    }

    /// Its machine code. What may not run is not compiled: compiling may take a minute, and missing grants are
    /// known before.
    pub(super) fn compiled(
        &self,
        plan: &FilterPlan,
        proven: &ProvenArtifact,
    ) -> Result<CompiledComponent, Refused> {
        let component = &proven.artifact.component;
        let key = Digest::of(component).to_string();
        if let Some(compiled) = self.compiler().known(&key) {
            self.allowed(plan, proven, compiled.inspection())?;
            return Ok(compiled);
        }
        let inspection = inspect(component).map_err(|error| refusal(&error))?;
        self.allowed(plan, proven, &inspection)?;
        self.compiler().compile(key, component)
    }

    pub(super) fn compiler(&self) -> Compiler<'_> {
        Compiler { engine: &self.engine, cache: self.cache.as_deref(), code: &self.code }
    }

    /// Checks that all imports of a component are granted and that its manifest describes it.
    pub(super) fn allowed(
        &self,
        plan: &FilterPlan,
        proven: &ProvenArtifact,
        inspection: &Inspection,
    ) -> Result<(), Refused> {
        let grant = granted(plan)?;
        let manifest = Manifest::parse(&proven.artifact.manifest).map_err(|error| {
            let remedy = "sign and push it again with `tamis filter sign`";
            by_proxy("trust.format", error.to_string(), remedy)
        })?;
        check_claims(&manifest, inspection)?;
        allowed(plan, inspection, &grant)
    }
}

/// A manifest and what speaks for it.
#[derive(Clone, Copy)]
struct SignedManifest<'a> {
    manifest: &'a [u8],
    bundles: &'a [&'a [u8]],
    logged: &'a [Option<u64>],
}

fn request<'a>(
    pinned: &'a Digest,
    signed: SignedManifest<'a>,
    rules: Rules<'a>,
    name: Option<&'a str>,
    clock: Clock,
) -> Result<Request<'a>, Refused> {
    let now = clock.wall().duration_since(UNIX_EPOCH).map_err(|_| {
        let rule = "the clock of this machine is before 1970, and expiry depends on it";
        by_proxy("trust.clock", rule, "set the clock")
    })?;
    Ok(Request {
        pinned,
        name,
        manifest: signed.manifest,
        bundles: signed.bundles,
        logged: signed.logged,
        policies: rules.policies,
        policy_age: rules.age,
        now: now.as_secs(),
    })
}
