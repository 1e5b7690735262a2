//! `Rollout`: replaces a digest by another, wave by wave.

use std::collections::BTreeSet;

use crate::format::{Millis, accepts};

/// Most waves of a rollout.
const MAX_WAVES: usize = 16;
/// The longest bake time of a wave: 30 days.
const MAX_BAKE: Millis = Millis(30 * 24 * 3_600_000);

words! {
    /// The reaction to a failed gate.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default)]
    pub enum RolloutBreach {
        /// All proxies return at once.
        #[default]
        Return,
        /// It stays in its wave until somebody decides.
        Hold,
    }
}

shapes! {
    /// Replaces a digest by another, wave by wave. `tamis rollout start --file` starts it, once, under its
    /// name; it cannot be applied, and must not be in a folder of documents.
    pub struct RolloutSpec {
        /// `namespace/name` of the filter.
        #[schemars(extend("format" = "filter-name"))]
        pub filter: String,
        /// The digest that is pinned now; default: looked up.
        #[schemars(extend("format" = "digest"))]
        pub from: Option<String>,
        /// Version of the new digest; its tag is resolved once, when the rollout starts. Either this or
        /// `digest`.
        pub version: Option<String>,
        /// The new digest. Either this or `version`.
        #[schemars(extend("format" = "digest"))]
        pub digest: Option<String>,
        /// `namespace/name` of services and gateways, each once; a single `*` means all that have `from`
        /// pinned.
        #[schemars(length(min = 1))]
        pub services: Vec<String>,
        /// In order, at most 16; the last one has all proxies.
        #[schemars(length(min = 1))]
        pub waves: Vec<RolloutWave>,
        /// Conditions of each wave.
        #[serde(default)]
        pub gates: RolloutGates,
        /// Comparison of verdicts before the candidate decides about requests.
        pub shadow: Option<RolloutShadow>,
        /// What happens when a gate fails; default: `return`.
        #[serde(default)]
        pub on_breach: RolloutBreach,
        /// How long a step may go without a judgement after its bake time, before it is paused; default:
        /// `1h`.
        pub progress_deadline: Option<Millis>,
    }
    /// A part of the proxies.
    pub struct RolloutWave {
        /// Percent of all proxies; more than in the wave before.
        #[schemars(range(min = 1, max = 100))]
        pub percent: u8,
        /// How long gates must hold before the next wave, at most 720h; default: 0.
        pub bake: Option<Millis>,
    }
    /// Conditions that must hold in every wave. An absent gate is not checked.
    #[derive(Default)]
    pub struct RolloutGates {
        /// Exchanges needed before a rate is judged; default: 100.
        #[schemars(range(min = 1))]
        pub min_exchanges: Option<u64>,
        /// Most faults per exchange of the candidate.
        #[schemars(range(min = 0, max = 1))]
        pub max_trap_rate: Option<f64>,
        /// Most by which its share of 5xx may exceed that of the current digest.
        #[schemars(range(min = 0, max = 1))]
        pub max_5xx_delta: Option<f64>,
        /// Most by which its share of denials may differ from that of the current digest, up or down.
        #[schemars(range(min = 0, max = 1))]
        pub max_denial_delta: Option<f64>,
        /// Most milliseconds that it may add at the 99th percentile over the current digest.
        #[schemars(range(min = 0))]
        pub max_added_p99_ms: Option<f64>,
        /// Most slots that may refuse the candidate.
        #[schemars(range(min = 0))]
        pub max_refusals: Option<u64>,
    }
    /// The comparison before the first wave.
    pub struct RolloutShadow {
        /// Verdicts to compare.
        #[schemars(range(min = 1))]
        pub min_samples: u64,
        /// Most of them that may differ.
        #[schemars(range(min = 0))]
        pub max_differences: u64,
    }
}

/// Pointer, message and way out of a fault that a schema cannot express.
pub(crate) type RuleFault = (String, String, &'static str);

impl RolloutSpec {
    /// Faults beyond the schema.
    pub(crate) fn wrong(&self) -> Vec<RuleFault> {
        let mut wrong = self.services();
        wrong.extend(self.waves());
        if self.version.is_some() == self.digest.is_some() {
            let pointer = if self.version.is_some() { "/spec/version" } else { "/spec" };
            let message = "a rollout needs exactly one of `version` and `digest`".to_owned();
            wrong.push((
                pointer.to_owned(),
                message,
                "write the one that names what is rolled out",
            ));
        }
        let first = self.waves.first().is_some_and(|wave| wave.percent == 100);
        if first && self.gates.compare() {
            let message =
                "the first wave has all proxies, so there is nothing left to compare with";
            let help = "start with fewer proxies, or remove the gates that compare";
            wrong.push(("/spec/waves/0/percent".to_owned(), message.to_owned(), help));
        }
        wrong
    }

    fn services(&self) -> Vec<RuleFault> {
        let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
        for (at, service) in self.services.iter().enumerate() {
            let message = if service == "*" {
                (self.services.len() > 1)
                    .then(|| "`*` must be the only entry: it means all services".to_owned())
            } else if !accepts("filter-name", service) {
                Some("write a service as namespace/name".to_owned())
            } else {
                (!seen.insert(service)).then(|| "each service may be listed only once".to_owned())
            };
            let help = "list services and gateways, or only `*`";
            wrong.extend(message.map(|message| (format!("/spec/services/{at}"), message, help)));
        }
        wrong
    }

    fn waves(&self) -> Vec<RuleFault> {
        let (mut wrong, mut before) = (Vec::new(), 0);
        let rising = "write rising values, such as 5, 25, 100 percent";
        if self.waves.len() > MAX_WAVES {
            let message = format!("a rollout has at most {MAX_WAVES} waves");
            wrong.push(("/spec/waves".to_owned(), message, "remove some"));
        }
        for (at, wave) in self.waves.iter().enumerate() {
            if wave.percent <= before {
                let message =
                    format!("a wave must have more than the {before} percent of the previous one");
                wrong.push((format!("/spec/waves/{at}/percent"), message, rising));
            }
            before = wave.percent;
            if wave.bake.is_some_and(|bake| bake > MAX_BAKE) {
                let message = format!("a wave bakes for at most {MAX_BAKE}");
                wrong.push((format!("/spec/waves/{at}/bake"), message, "shorten it"));
            }
        }
        if let (Some(at), true) = (self.waves.len().checked_sub(1), before < 100) {
            let message = "the last wave must have all proxies: 100 percent".to_owned();
            wrong.push((format!("/spec/waves/{at}/percent"), message, rising));
        }
        wrong
    }
}

impl RolloutGates {
    /// Whether any of them compares with the current digest.
    fn compare(&self) -> bool {
        let compared = [self.max_5xx_delta, self.max_denial_delta, self.max_added_p99_ms];
        compared.iter().any(Option::is_some)
    }
}
