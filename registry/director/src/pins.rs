//! Pins, and the events of filters.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tamis_resources::{NodeName, parse};
use tamis_trust::{Digest, Name, Version};

use crate::record::PinRecord;
use crate::rollout::{RolloutOutcome, RolloutStage};
use crate::stamp::JournalStamp;

/// The service of pins that apply to services without a pin of their own.
pub(crate) const ALL: &str = "*";

/// A pin in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServicePin {
    /// `namespace/name` of a service or gateway, or `*`.
    pub service: String,
    /// The filter's name.
    pub filter: Name,
    /// Version of the artifact.
    pub version: Version,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Who pinned it, and when.
    pub stamp: JournalStamp,
}

impl ServicePin {
    /// That of a record.
    pub(crate) fn of(record: PinRecord, stamp: JournalStamp) -> Self {
        let PinRecord { service, filter, version, digest, allow_older: _, rollback: _ } = record;
        Self { service, filter, version, digest, stamp }
    }
}

/// An event of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilterEvent {
    /// Who wrote it, and when.
    pub stamp: JournalStamp,
    /// The services concerned; `*` means all.
    pub services: Vec<String>,
    /// The event.
    #[serde(flatten)]
    pub what: FilterEventKind,
}

/// The kinds of events of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum FilterEventKind {
    /// It was pinned.
    Pinned {
        /// Version of the artifact.
        version: Version,
        /// Digest of its manifest.
        digest: Digest,
        /// The rollout that ended with this pin; `None`: a person pinned it.
        rollout: Option<String>,
        /// Whether it was a rollback.
        back: bool,
    },
    /// Its pin was removed.
    Unpinned,
    /// A rollout started.
    RolloutStarted {
        /// Its name.
        rollout: String,
        /// The digest that replaces the pinned one.
        to: Digest,
    },
    /// A rollout took a step.
    RolloutMoved {
        /// Its name.
        rollout: String,
        /// Its new stage.
        stage: RolloutStage,
        /// The reason.
        why: String,
    },
    /// A rollout ended.
    RolloutEnded {
        /// Its name.
        rollout: String,
        /// The outcome.
        outcome: RolloutOutcome,
        /// The reason.
        why: String,
    },
}

/// The origin of a pin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PinOrigin<'a> {
    /// A person pinned it.
    Hand,
    /// A person rolled back to it.
    Rollback,
    /// A rollout of that name ended with it.
    Rollout(&'a str),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    /// By filter, then service.
    in_force: BTreeMap<Name, BTreeMap<String, ServicePin>>,
    history: BTreeMap<Name, Vec<FilterEvent>>,
}

impl Pins {
    pub(crate) fn pin(&mut self, pin: ServicePin, by: PinOrigin<'_>) {
        let (rollout, back) = match by {
            PinOrigin::Hand => (None, false),
            PinOrigin::Rollback => (None, true),
            PinOrigin::Rollout(name) => (Some(name.to_owned()), false),
        };
        self.note(
            &pin.filter,
            FilterEvent {
                stamp: pin.stamp.clone(),
                services: vec![pin.service.clone()],
                what: FilterEventKind::Pinned {
                    version: pin.version.clone(),
                    digest: pin.digest,
                    rollout,
                    back,
                },
            },
        );
        self.in_force.entry(pin.filter.clone()).or_default().insert(pin.service.clone(), pin);
    }

    /// Removes a pin; returns whether there was one.
    pub(crate) fn unpin(&mut self, service: &str, filter: &Name, stamp: &JournalStamp) -> bool {
        let there = self.in_force.get_mut(filter).and_then(|pins| pins.remove(service)).is_some();
        if there {
            let (stamp, services) = (stamp.clone(), vec![service.to_owned()]);
            self.note(filter, FilterEvent { stamp, services, what: FilterEventKind::Unpinned });
        }
        there
    }

    pub(crate) fn note(&mut self, filter: &Name, happening: FilterEvent) {
        self.history.entry(filter.clone()).or_default().push(happening);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &ServicePin> {
        self.in_force.values().flat_map(BTreeMap::values)
    }

    /// The pin of a service, else the one of all.
    pub(crate) fn effective(&self, service: &str, filter: &Name) -> Option<&ServicePin> {
        let pins = self.in_force.get(filter)?;
        pins.get(service).or_else(|| pins.get(ALL))
    }

    pub(crate) fn filters(&self) -> impl Iterator<Item = &Name> {
        self.in_force.keys()
    }

    /// Filters that have ever had a pin or a rollout.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Name> {
        self.history.keys()
    }

    /// The revision of the last event of a filter; 0 without events.
    pub(crate) fn revision(&self, filter: &Name) -> u64 {
        let last = self.history.get(filter).and_then(|all| all.last());
        last.map_or(0, |last| last.stamp.revision)
    }

    /// Every service that events of a filter are about by its own name.
    pub(crate) fn services(&self, filter: &Name) -> BTreeSet<&str> {
        let all = self.history.get(filter).into_iter().flatten();
        all.flat_map(|one| &one.services).map(String::as_str).filter(|one| *one != ALL).collect()
    }

    /// Every digest that was ever pinned or rolled out.
    pub(crate) fn digests(&self, filter: &Name) -> BTreeSet<Digest> {
        let all = self.history.get(filter).into_iter().flatten();
        let digests = all.filter_map(|one| match &one.what {
            FilterEventKind::Pinned { digest, .. } => Some(*digest),
            FilterEventKind::RolloutStarted { to, .. } => Some(*to),
            FilterEventKind::Unpinned
            | FilterEventKind::RolloutMoved { .. }
            | FilterEventKind::RolloutEnded { .. } => None,
        });
        digests.collect()
    }

    pub(crate) fn history(&self, service: &str, filter: &Name) -> Vec<&FilterEvent> {
        let all = self.history.get(filter).into_iter().flatten();
        all.filter(|one| one.services.iter().any(|about| about == service || about == ALL))
            .collect()
    }

    /// The digests pinned for a service, one after the other: a digest that was pinned again is listed
    /// again.
    pub(crate) fn timeline(&self, service: &str, filter: &Name) -> Vec<(Version, Digest)> {
        let (mut own, mut all) = (None, None);
        let mut timeline: Vec<(Version, Digest)> = Vec::new();
        for happening in self.history(service, filter) {
            let pinned = match &happening.what {
                FilterEventKind::Pinned { version, digest, .. } => Some((version.clone(), *digest)),
                FilterEventKind::Unpinned => None,
                FilterEventKind::RolloutStarted { .. }
                | FilterEventKind::RolloutMoved { .. }
                | FilterEventKind::RolloutEnded { .. } => continue,
            };
            for about in &happening.services {
                if about == ALL {
                    all.clone_from(&pinned);
                }
                if about == service {
                    own.clone_from(&pinned);
                }
            }
            if let Some(now) = own.clone().or_else(|| all.clone())
                && timeline.last().is_none_or(|(_, digest)| *digest != now.1)
            {
                timeline.push(now);
            }
        }
        timeline
    }
}

/// What is wrong with a pin in itself.
pub(crate) fn check(pinned: &PinRecord) -> Result<(), String> {
    check_service(&pinned.service)?;
    // A proxy reads its lock as one document: one invalid pin would invalidate the others.
    let lock = lock(std::iter::once((
        pinned.service.as_str(),
        &pinned.filter,
        &pinned.version,
        pinned.digest,
    )));
    match parse("pin", &lock).1.first() {
        Some(problem) => Err(format!("{} cannot be pinned: {problem}", pinned.filter)),
        None => Ok(()),
    }
}

pub(crate) fn check_service(service: &str) -> Result<(), String> {
    if service == ALL || format!("gateway:{service}").parse::<NodeName>().is_ok() {
        return Ok(());
    }
    let service: String = service.chars().take(80).collect();
    Err(format!("{service:?} is not the name of a service; write namespace/name or *"))
}

/// Pins as the lock document for computing plans.
pub(crate) fn lock<'a>(
    pins: impl Iterator<Item = (&'a str, &'a Name, &'a Version, Digest)>,
) -> String {
    let filters = pins.map(|(service, filter, version, digest)| {
        serde_json::json!({
            "service": service, "filter": filter, "version": version, "digest": digest,
        })
    });
    serde_json::json!({
        "apiVersion": "tamis.dev/v1alpha1",
        "kind": "FiltersLock",
        "filters": filters.collect::<Vec<_>>(),
    })
    .to_string()
}
