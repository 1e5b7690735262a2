//! Parts that plans of many proxies have in common, stored once.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;
use tamis_resources::plan::{FilterPlan, NodePlan, ServicePlan};
use tamis_trust::{Digest, config_digest};

/// Upstreams and configurations. In a mesh with one set of rules every proxy has the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedValues {
    services: HashSet<Arc<ServicePlan>>,
    /// By their hash, with their digests.
    configs: HashMap<u64, Vec<(Arc<Value>, Digest)>>,
}

impl SharedValues {
    /// Replaces parts of a plan by equal ones that are stored already.
    pub(super) fn share(&mut self, plan: &mut NodePlan) {
        for service in &mut plan.services {
            match self.services.get(service) {
                Some(known) => *service = Arc::clone(known),
                None => drop(self.services.insert(Arc::clone(service))),
            }
        }
        for filter in &mut plan.filters {
            let (config, _) = self.config(filter);
            if !Arc::ptr_eq(config, &filter.config) {
                let config = Arc::clone(config);
                Arc::make_mut(filter).config = config;
            }
        }
    }

    /// The digest of a filter's configuration.
    pub(super) fn digest(&mut self, filter: &FilterPlan) -> Digest {
        self.config(filter).1
    }

    /// Drops what no plan uses any more.
    pub(super) fn tidy(&mut self) {
        self.services.retain(|service| Arc::strong_count(service) > 1);
        self.configs.retain(|_, configs| {
            configs.retain(|(config, _)| Arc::strong_count(config) > 1);
            !configs.is_empty()
        });
    }

    fn config(&mut self, filter: &FilterPlan) -> &(Arc<Value>, Digest) {
        let known = self.configs.entry(hash_of(&filter.config)).or_default();
        let same = |(config, _): &(Arc<Value>, Digest)| {
            Arc::ptr_eq(config, &filter.config) || *config == filter.config
        };
        let at = known.iter().position(same).unwrap_or_else(|| {
            known.push((Arc::clone(&filter.config), config_digest(&filter.config)));
            known.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "it was found there, or was just put there")]
        &known[at]
    }
}

/// The hash of a value.
pub(crate) fn hash_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(value, &mut hasher);
    hasher.finish()
}

/// Equal values have equal hashes: members of an object in any order.
fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0u8.hash(hasher),
        Value::Bool(value) => value.hash(hasher),
        // 1 and 1.0 are different numbers here, as they are to `==`.
        Value::Number(number) => number.hash(hasher),
        Value::String(text) => text.hash(hasher),
        Value::Array(all) => {
            all.len().hash(hasher);
            all.iter().for_each(|one| hash(one, hasher));
        }
        Value::Object(members) => {
            let all = members.iter().map(|(name, value)| {
                let mut one = DefaultHasher::new();
                name.hash(&mut one);
                hash(value, &mut one);
                one.finish()
            });
            all.fold(0u64, u64::wrapping_add).hash(hasher);
        }
    }
}
