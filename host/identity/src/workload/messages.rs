//! The messages of `FetchX509SVID`, as far as a proxy uses them (`workload.proto` of the SPIFFE Workload API).

use std::collections::BTreeMap;

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

/// The longest message that is read, in bytes: 64 SVIDs with their chains and 64 bundles have about a quarter of it.
pub(super) const MESSAGE_MAX: usize = 1 << 20;
/// Most SVIDs in a message: each is a registration that selects the same process.
const SVIDS_MAX: usize = 64;
/// Most bundles of other trust domains, as many as a proxy recognises.
const BUNDLES_MAX: usize = 64;

/// The field of SVIDs in a message.
const SVIDS: u32 = 1;
/// The field of bundles.
const BUNDLES: u32 = 3;

/// All that the agent knows for this proxy. Revocation lists, field 2, are not used: SVIDs are valid for an hour.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SvidMessage {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<AgentSvidEntry>,
    /// By trust domain: certificates in DER, one after the other.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: BTreeMap<String, Vec<u8>>,
}

/// One SVID. It has a key, so it is never printed.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct AgentSvidEntry {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// The chain, leaf first: certificates in DER, one after the other.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    /// PKCS#8 in DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    /// The authorities of its trust domain: certificates in DER, one after the other.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
}

impl std::fmt::Debug for AgentSvidEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentSvidEntry").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

impl SvidMessage {
    /// Reads a message of at most [`MESSAGE_MAX`] bytes.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        // Counted first: an empty entry has two bytes in a message and hundreds in memory.
        let (mut svids, mut bundles) = (0_usize, 0_usize);
        let mut rest = bytes;
        let wrong = |error: prost::DecodeError| format!("it is no X509SVIDResponse ({error})");
        while !rest.is_empty() {
            let (tag, kind) = decode_key(&mut rest).map_err(wrong)?;
            match tag {
                SVIDS => svids = svids.saturating_add(1),
                BUNDLES => bundles = bundles.saturating_add(1),
                _ => {}
            }
            skip_field(kind, tag, &mut rest, DecodeContext::default()).map_err(wrong)?;
        }
        if svids > SVIDS_MAX {
            return Err(format!("it has {svids} SVIDs, and {SVIDS_MAX} is the most"));
        }
        if bundles > BUNDLES_MAX {
            return Err(format!(
                "it has {bundles} federated bundles, and {BUNDLES_MAX} is the most"
            ));
        }
        Self::decode(bytes).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_counted_before_it_is_read() {
        let entry = AgentSvidEntry { spiffe_id: "a".to_owned(), ..AgentSvidEntry::default() };
        for (svids, bundles, why) in
            [(0, 0, None), (64, 64, None), (65, 0, Some("65 SVIDs")), (0, 65, Some("65 federated"))]
        {
            let federated_bundles = (0..bundles).map(|at| (at.to_string(), vec![1])).collect();
            let message = SvidMessage { svids: vec![entry.clone(); svids], federated_bundles };
            let read = SvidMessage::read(&message.encode_to_vec());
            match why {
                None => assert_eq!(read.unwrap(), message),
                Some(why) => assert!(read.unwrap_err().contains(why), "{svids} {bundles}"),
            }
        }
        // Fields that are not used are no fault; octets that are no message are.
        assert_eq!(SvidMessage::read(&[0x12, 1, 0]).unwrap(), SvidMessage::default());
        let many = [0x0a, 0].repeat(MESSAGE_MAX / 2);
        for bad in [&[0x0a][..], &[0x0a, 5, 0], &[0xff; 32], b"GET / HTTP/1.1", &many] {
            assert!(SvidMessage::read(bad).is_err(), "{:?}", bad.first_chunk::<2>());
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let entry = AgentSvidEntry { x509_svid_key: vec![77; 4], ..AgentSvidEntry::default() };
        let message = SvidMessage { svids: vec![entry], federated_bundles: BTreeMap::new() };
        let text = format!("{message:?}");
        assert!(!text.contains("77") && !text.contains("key"), "{text}");
    }
}
