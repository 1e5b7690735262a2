//! `Rollout`: a digest that takes the place of another, wave by wave.

use std::collections::BTreeSet;

use crate::format::{Millis, accepts};

/// The most waves of a rollout.
const MAX_WAVES: usize = 16;
/// The longest bake time of a wave: 30 days.
const MAX_BAKE: Millis = Millis(30 * 24 * 3_600_000);

words! {
    /// What a gate that does not hold does.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default)]
    pub enum RolloutBreach {
        /// All proxies go back at once.
        #[default]
        Return,
        /// It stays where it is until somebody decides.
        Hold,
    }
}

shapes! {
    /// A digest that takes the place of another, wave by wave. `tamis rollout start --file` begins it, once, under its
    /// name; it is not applied, and a folder that is followed must not hold one.
    pub struct RolloutSpec {
        /// `namespace/name` of the filter.
        #[schemars(extend("format" = "filter-name"))]
        pub filter: String,
        /// The digest that is pinned now; looked up when not said.
        #[schemars(extend("format" = "digest"))]
        pub from: Option<String>,
        /// Version that takes its place; its tag is resolved once, when the rollout begins. This or `digest`.
        pub version: Option<String>,
        /// Digest that takes its place. This or `version`.
        #[schemars(extend("format" = "digest"))]
        pub digest: Option<String>,
        /// `namespace/name` of services and gateways, each once; `*`, alone, is whatever has `from` pinned.
        #[schemars(length(min = 1))]
        pub services: Vec<String>,
        /// In their order, at most 16; the last has all proxies.
        #[schemars(length(min = 1))]
        pub waves: Vec<RolloutWave>,
        /// What stops it.
        #[serde(default)]
        pub gates: RolloutGates,
        /// Compare verdicts before any of the candidate's counts.
        pub shadow: Option<RolloutShadow>,
        /// What a gate that does not hold does; `return` when not said.
        #[serde(default)]
        pub on_breach: RolloutBreach,
        /// How long a step may go without a judgement after its bake time, before it is paused; `1h` when not said.
        pub progress_deadline: Option<Millis>,
    }
    /// A part of the proxies.
    pub struct RolloutWave {
        /// Of all proxies; more than the wave before.
        #[schemars(range(min = 1, max = 100))]
        pub percent: u8,
        /// How long gates must hold before the next, at most 720h; no time when not said.
        pub bake: Option<Millis>,
    }
    /// What has to hold in every wave. A gate that is not said is not asked.
    #[derive(Default)]
    pub struct RolloutGates {
        /// Exchanges that a rate needs before it says anything; 100 when not said.
        #[schemars(range(min = 1))]
        pub min_exchanges: Option<u64>,
        /// Most faults per exchange of the candidate.
        #[schemars(range(min = 0, max = 1))]
        pub max_trap_rate: Option<f64>,
        /// How much its share of 5xx may be above that of the current digest.
        #[schemars(range(min = 0, max = 1))]
        pub max_5xx_delta: Option<f64>,
        /// How far its share of denials may be from that of the current digest, up or down.
        #[schemars(range(min = 0, max = 1))]
        pub max_denial_delta: Option<f64>,
        /// How much more time it may add at the 99th percentile than the current digest, in milliseconds.
        #[schemars(range(min = 0))]
        pub max_added_p99_ms: Option<f64>,
        /// Slots that may refuse the candidate.
        #[schemars(range(min = 0))]
        pub max_refusals: Option<u64>,
    }
    /// The comparison before the first wave.
    pub struct RolloutShadow {
        /// Verdicts to compare.
        #[schemars(range(min = 1))]
        pub min_samples: u64,
        /// How many of them may differ.
        #[schemars(range(min = 0))]
        pub max_differences: u64,
    }
}

/// Pointer, message and way out of something that a schema cannot say.
pub(crate) type Wrong = (String, String, &'static str);

impl RolloutSpec {
    /// What is wrong with it beyond its schema.
    pub(crate) fn wrong(&self) -> Vec<Wrong> {
        let mut wrong = self.services();
        wrong.extend(self.waves());
        if self.version.is_some() == self.digest.is_some() {
            let pointer = if self.version.is_some() { "/spec/version" } else { "/spec" };
            let message = "a rollout has one of `version` and `digest`".to_owned();
            wrong.push((pointer.to_owned(), message, "say which one takes the place"));
        }
        let first = self.waves.first().is_some_and(|wave| wave.percent == 100);
        if first && self.gates.compare() {
            let message = "the first wave has all proxies, so nothing is left to compare with";
            let help = "begin with less, or leave out the gates that compare";
            wrong.push(("/spec/waves/0/percent".to_owned(), message.to_owned(), help));
        }
        wrong
    }

    fn services(&self) -> Vec<Wrong> {
        let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
        for (at, service) in self.services.iter().enumerate() {
            let message = if service == "*" {
                (self.services.len() > 1).then(|| "`*` stands alone: it is all services".to_owned())
            } else if !accepts("filter-name", service) {
                Some("a service is named namespace/name".to_owned())
            } else {
                (!seen.insert(service)).then(|| "a service is named once".to_owned())
            };
            let help = "name services and gateways, or `*` alone";
            wrong.extend(message.map(|message| (format!("/spec/services/{at}"), message, help)));
        }
        wrong
    }

    fn waves(&self) -> Vec<Wrong> {
        let (mut wrong, mut before) = (Vec::new(), 0);
        let rising = "write them as 5, 25, 100 percent";
        if self.waves.len() > MAX_WAVES {
            let message = format!("a rollout has at most {MAX_WAVES} waves");
            wrong.push(("/spec/waves".to_owned(), message, "leave some out"));
        }
        for (at, wave) in self.waves.iter().enumerate() {
            if wave.percent <= before {
                let message = format!("a wave has more than the {before} percent before it");
                wrong.push((format!("/spec/waves/{at}/percent"), message, rising));
            }
            before = wave.percent;
            if wave.bake.is_some_and(|bake| bake > MAX_BAKE) {
                let message = format!("a wave bakes for at most {MAX_BAKE}");
                wrong.push((format!("/spec/waves/{at}/bake"), message, "shorten it"));
            }
        }
        if let (Some(at), true) = (self.waves.len().checked_sub(1), before < 100) {
            let message = "the last wave has all proxies: 100 percent".to_owned();
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
