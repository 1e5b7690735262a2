//! Renewals that the journal does not contain yet: gathered, so that a thousand proxies write a record
//! every half minute, not one each.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::records::{IdentityRecord, RenewedRecord, SvidRecord};

/// SVIDs in one record, each of at most about 2.4 kilobytes with the longest names; an entry of the journal
/// has at most 65,535 bytes.
const BATCH_BYTES: usize = 48 * 1024;
/// Bytes of an SVID in a record without its names.
const FIXED_BYTES: usize = 128;

/// Renewed SVIDs that are not written yet, the last one of each proxy.
#[derive(Default)]
pub(crate) struct RenewedSvids(Mutex<BTreeMap<String, SvidRecord>>);

impl RenewedSvids {
    fn pending(&self) -> MutexGuard<'_, BTreeMap<String, SvidRecord>> {
        // Each change is one call of the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, svid: SvidRecord) {
        self.pending().insert(svid.node.clone(), svid);
    }

    /// The pending SVID of a proxy.
    pub(crate) fn of(&self, node: &str) -> Option<SvidRecord> {
        self.pending().get(node).cloned()
    }

    /// All of them in records that fit into entries; empty when there are none.
    pub(crate) fn take(&self) -> Vec<IdentityRecord> {
        let all = std::mem::take(&mut *self.pending());
        let (mut records, mut svids, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
        for svid in all.into_values() {
            let length = FIXED_BYTES + svid.node.len() + svid.id.len();
            if bytes + length > BATCH_BYTES && !svids.is_empty() {
                let svids = std::mem::take(&mut svids);
                records.push(IdentityRecord::Renewed(RenewedRecord { svids }));
                bytes = 0;
            }
            bytes += length;
            svids.push(svid);
        }
        if !svids.is_empty() {
            records.push(IdentityRecord::Renewed(RenewedRecord { svids }));
        }
        records
    }

    /// Keeps what could not be written for the next attempt, unless there is a newer one.
    pub(crate) fn put_back(&self, records: Vec<IdentityRecord>) {
        let mut pending = self.pending();
        for record in records {
            let IdentityRecord::Renewed(renewed) = record else { continue };
            for svid in renewed.svids {
                pending.entry(svid.node.clone()).or_insert(svid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_renewals_are_a_few_records_that_fit_into_entries_and_each_proxy_counts_once() {
        let renewed = RenewedSvids::default();
        let svid = |index: usize, not_after| {
            let node = format!("sidecar:shop/{}/{index}", "n".repeat(200));
            let id = format!("spiffe://shop.example/ns/shop/service/{}", "n".repeat(200));
            SvidRecord { node, id, serial: "4a".repeat(16), not_after }
        };
        (0..1_000).for_each(|index| renewed.add(svid(index, 1)));
        (0..1_000).for_each(|index| renewed.add(svid(index, 2)));
        assert_eq!(renewed.of(&svid(7, 0).node), Some(svid(7, 2)));
        let records = renewed.take();
        assert!((2..=20).contains(&records.len()), "{}", records.len());
        let mut all = 0;
        for record in &records {
            let written = record.to_record().unwrap().body.to_string();
            assert!(written.len() < 60_000, "{}", written.len());
            let IdentityRecord::Renewed(record) = record else { panic!("{record:?}") };
            assert!(record.svids.iter().all(|svid| svid.not_after == 2));
            all += record.svids.len();
        }
        assert_eq!(all, 1_000);
        assert!(renewed.take().is_empty());
        // What could not be written comes again, unless there is a newer one.
        renewed.add(svid(7, 3));
        renewed.put_back(records);
        assert_eq!(renewed.of(&svid(7, 0).node), Some(svid(7, 3)));
        assert_eq!(renewed.of(&svid(8, 0).node), Some(svid(8, 2)));
    }
}
