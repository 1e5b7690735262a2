//! Bytes of strangers: damaged and made-up certificates prove nothing and end in a refusal.

use proptest::prelude::*;
use rustls_pki_types::pem::PemObject as _;

use super::super::testing::{TestAuthority, bundles};
use super::*;

const ID: &str = "spiffe://shop.example/ns/shop/pay";

fn chain(authority: &TestAuthority) -> Vec<CertificateDer<'static>> {
    let text = authority.issue(&[ID], |_| {}).chain;
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn verify(
    trust: &TrustBundles,
    leaf: &[u8],
    intermediates: &[CertificateDer<'_>],
) -> [Result<SpiffeId, PeerRefusal>; 2] {
    [PeerRole::Client, PeerRole::Server].map(|role| {
        verify_peer(trust, role, &CertificateDer::from(leaf), intermediates, UnixTime::now())
    })
}

#[test]
fn a_certificate_with_any_byte_changed_cut_or_added_is_refused() {
    let authority = TestAuthority::new();
    let trust = bundles(&[("shop.example", &authority)]);
    let chain = chain(&authority);
    let (leaf, rest) = chain.split_first().unwrap();
    assert!(
        verify(&trust, leaf, rest).iter().all(|it| it.as_ref().is_ok_and(|id| id.as_str() == ID))
    );
    for at in 0..leaf.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut damaged = leaf.to_vec();
            damaged[at] ^= mask;
            assert!(verify(&trust, &damaged, rest).iter().all(Result::is_err), "{at} {mask:#x}");
        }
        assert!(verify(&trust, &leaf[..at], rest).iter().all(Result::is_err), "cut at {at}");
    }
    let longer = [leaf.as_ref(), &[0]].concat();
    assert!(verify(&trust, &longer, rest).iter().all(Result::is_err));
}

#[test]
fn a_damaged_intermediate_proves_nothing() {
    let authority = TestAuthority::new();
    let trust = bundles(&[("shop.example", &authority)]);
    let chain = chain(&authority);
    let [leaf, intermediate] = chain.as_slice() else { panic!("two certificates") };
    for at in 0..intermediate.len() {
        let mut damaged = intermediate.to_vec();
        damaged[at] ^= 0x01;
        let rest = [CertificateDer::from(damaged)];
        let refused = verify(&trust, leaf, &rest);
        let chain = |it: &Result<_, _>| matches!(it, Err(PeerRefusal::Chain { .. }));
        assert!(refused.iter().all(chain), "{at}: {refused:?}");
    }
}

proptest! {
    #[test]
    fn made_up_bytes_are_refused(
        leaf in proptest::collection::vec(any::<u8>(), 0..600),
        other in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let trust = bundles(&[("shop.example", &TestAuthority::new())]);
        let refused = verify(&trust, &leaf, &[CertificateDer::from(other)]);
        prop_assert!(refused.iter().all(Result::is_err));
    }
}

#[test]
fn a_certificate_that_expired_within_the_grace_is_judged_as_of_its_last_second() {
    let authority = TestAuthority::new();
    let chain = chain(&authority);
    let leaf = chain.first().unwrap();
    let (_, parsed) = X509Certificate::from_der(leaf).unwrap();
    let until = u64::try_from(parsed.validity().not_after.timestamp()).unwrap();
    let at = |second: u64| UnixTime::since_unix_epoch(Duration::from_secs(second));
    let grace = Duration::from_secs(60);
    for (now, judged) in [
        (until - 1, until - 1),
        (until, until),
        (until + 1, until),
        (until + 60, until),
        (until + 61, until + 61),
    ] {
        assert_eq!(within_validity(leaf, at(now), grace), at(judged), "{now}");
    }
    let stranger = CertificateDer::from(&b"no certificate"[..]);
    assert_eq!(within_validity(&stranger, at(until + 1), grace), at(until + 1));
    assert_eq!(within_validity(leaf, at(until + 1), Duration::ZERO), at(until + 1));
}
