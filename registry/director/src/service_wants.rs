//! What the proxies of a service should run together: a slot has one assignment for all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::order::{Lane, SlotOrder};
use crate::refused::{Refused, code};
use crate::wants::DesiredSlots;

/// The combined orders of all proxies of a service. Where the orders of two proxies disagree, nothing is assigned.
pub(crate) fn combined_orders<'a>(
    service: &str,
    all: impl Iterator<Item = &'a DesiredSlots>,
) -> (BTreeMap<&'a Lane, &'a SlotOrder>, BTreeMap<String, Refused>) {
    let (mut orders, mut refused) = (BTreeMap::new(), BTreeMap::new());
    let mut disputed: BTreeSet<&str> = BTreeSet::new();
    for one in all {
        refused.extend(one.refused.clone());
        for (lane, order) in &one.lanes {
            if *orders.entry(lane).or_insert(order) != order {
                disputed.insert(lane.slot.as_str());
            }
        }
    }
    orders.retain(|lane, _| !disputed.contains(lane.slot.as_str()));
    refused.extend(disputed.into_iter().map(|slot| (slot.to_owned(), ambiguous(slot, service))));
    (orders, refused)
}

fn ambiguous(slot: &str, service: &str) -> Refused {
    Refused {
        code: code::AMBIGUOUS.into(),
        rule: format!(
            "proxies of {service} need different filters or configurations in slot {slot}"
        ),
        set_by: "the rule that a slot of a service has one assignment".to_owned(),
        remedy: "give a Gateway and a Service of one namespace different names".to_owned(),
    }
}
