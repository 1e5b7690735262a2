//! Joining and renewing over real TLS, with a registry that stops and comes back.

use std::sync::atomic::{AtomicBool, Ordering};

use tamis_ambient::{Clock, ManualTime};
use tamis_sync::{JOIN_PATH, JoinFile, RENEW_PATH};
use tamis_transport::{ClientCertificates, ClientTls, ServerTls};

use super::*;
use crate::testing::{PAY, TestMesh, TestRegistry};
use crate::{IdentityError, Registrar};

const HOUR: Duration = Duration::from_secs(3_600);
const ANY: &str = "127.0.0.1:0";

/// Waits for a condition that a thread brings about.
async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::system();
    let start = clock.now();
    while !holds() {
        assert!(clock.since(start) < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Joins, as a proxy that has just started.
async fn joined(registrar: &Registrar, file: &JoinFile) -> Result<MeshIdentity, IdentityError> {
    registrar.joining(file)?.attempt().await
}

#[tokio::test]
async fn an_answer_that_is_lost_is_given_again_to_the_same_key_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::start(TestMesh::new(folder.path(), HOUR), ANY);
    let file = registry.join_file();
    let registrar = Registrar::new(&file, Clock::system()).unwrap();
    let joining = registrar.joining(&file).unwrap();
    registry.mesh.lock().unwrap().loses = true;
    assert!(joining.attempt().await.is_err(), "it is lost");
    let error = joined(&registrar, &file).await.unwrap_err();
    assert!(matches!(&error, IdentityError::Refused { code, .. } if code == "join.replayed"));
    let identity = joining.attempt().await.unwrap();
    registrar.renew(&identity).await.unwrap();
    assert_eq!((registry.answered(JOIN_PATH), registry.answered(RENEW_PATH)), (1, 1));
}

#[tokio::test]
async fn a_token_gives_one_identity_and_its_replay_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::start(TestMesh::new(folder.path(), HOUR), ANY);
    let file = registry.join_file();
    let registrar = Registrar::new(&file, Clock::system()).unwrap();
    let identity = joined(&registrar, &file).await.unwrap();
    assert_eq!(identity.id().as_str(), PAY);
    let before = identity.facts();
    let error = joined(&registrar, &file).await.unwrap_err();
    assert!(matches!(&error, IdentityError::Refused { code, .. } if code == "join.replayed"));
    assert!(error.is_final() && error.to_string().contains("valid once"), "{error}");
    assert_eq!(registry.answered(JOIN_PATH), 1);
    // The renewal proves who it is with what it got.
    registrar.renew(&identity).await.unwrap();
    assert_eq!(registry.answered(RENEW_PATH), 1);
    assert_eq!(identity.facts().names, before.names);
}

#[tokio::test]
async fn no_token_is_sent_to_a_registry_that_does_not_prove_its_identity() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [registry, impostor] =
        folders.each_ref().map(|it| TestRegistry::start(TestMesh::new(it.path(), HOUR), ANY));
    let good = registry.join_file();
    let mut elsewhere = good.clone();
    elsewhere.registry = impostor.address.to_string();
    let mut other = good.clone();
    other.registry_id = "spiffe://shop.example/registry-2".to_owned();
    for file in [elsewhere, other] {
        let error =
            joined(&Registrar::new(&file, Clock::system()).unwrap(), &file).await.unwrap_err();
        assert!(matches!(error, IdentityError::Unreachable(_)), "{error}");
    }
    assert_eq!((registry.answered(JOIN_PATH), impostor.answered(JOIN_PATH)), (0, 0));
    // The token is still good, also where the first of two registries does not answer.
    let mut two = good.clone();
    two.registry = format!("{}, {}", impostor.address, registry.address);
    joined(&Registrar::new(&two, Clock::system()).unwrap(), &two).await.unwrap();
    for bad in [("registry", "nowhere"), ("id", "https://shop.example/registry")] {
        let mut file = good.clone();
        match bad {
            ("registry", text) => file.registry = text.to_owned(),
            (_, text) => file.registry_id = text.to_owned(),
        }
        let error = Registrar::new(&file, Clock::system()).unwrap_err();
        assert!(error.is_final() && error.to_string().contains("join file"), "{error}");
    }
}

#[tokio::test]
async fn svids_are_renewed_over_a_rotation_and_an_outage_and_the_proxy_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = TestMesh::new(folder.path(), HOUR);
    let registry = TestRegistry::start(mesh, ANY);
    let file = registry.join_file();
    let registrar = Registrar::new(&file, Clock::system()).unwrap();
    let identity = joined(&registrar, &file).await.unwrap();
    let peer = registry.mesh.lock().unwrap().svid("spiffe://shop.example/ns/shop/cart", HOUR);
    let quick = |_: Duration, random: Random| Duration::from_millis(10 + random.below(10));
    let renewal = Renewal::paced(registrar, identity.clone(), Random::seeded(1), quick).unwrap();
    let server = ServerTls::from_identity(&identity, ClientCertificates::Required).unwrap();
    let client = ClientTls::from_identity(&peer, Some(identity.id()), "pay").unwrap();
    let handshake = async || {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (accepted, connected) = tokio::join!(server.accept(far), client.handshake(near));
        assert!(accepted.is_ok() && connected.is_ok());
    };
    soon("renewals", || registry.answered(RENEW_PATH) >= 3).await;
    handshake().await;
    let now = Clock::system().wall();
    registry.mesh.lock().unwrap().authority.rotate(now).unwrap();
    let rotated = registry.answered(RENEW_PATH);
    soon("renewals after a rotation", || registry.answered(RENEW_PATH) >= rotated + 2).await;
    handshake().await;

    let (mesh, address) = (std::sync::Arc::clone(&registry.mesh), registry.address.to_string());
    drop(registry);
    let failed = || identity.renewals(Duration::from_secs(Clock::system().unix_secs()));
    soon("failures are counted", || failed().failed >= 2).await;
    assert_eq!(failed().problem, None, "an hour is left");
    for _ in 0..50 {
        handshake().await;
    }
    let registry = TestRegistry::start(mesh, &address);
    let before = registry.answered(RENEW_PATH);
    soon("renewals after an outage", || registry.answered(RENEW_PATH) >= before + 2).await;
    handshake().await;
    assert!(failed().renewed >= 6, "{:?}", failed());
    drop(renewal);
}

#[tokio::test]
async fn an_svid_that_grew_old_while_the_machine_slept_is_renewed_when_it_wakes_up() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::start(TestMesh::new(folder.path(), HOUR), ANY);
    let file = registry.join_file();
    let (time, now) = (ManualTime::new(), Clock::system().unix_time());
    time.set_unix_time(now);
    let registrar = Registrar::new(&file, time.clock()).unwrap();
    let identity = joined(&registrar, &file).await.unwrap();
    static WAITS: AtomicBool = AtomicBool::new(false);
    let noted = |life: Duration, random: Random| {
        WAITS.store(true, Ordering::Relaxed);
        wait(life, random)
    };
    let renewal = Renewal::paced(registrar, identity.clone(), Random::seeded(1), noted).unwrap();
    soon("the first wait", || WAITS.load(Ordering::Relaxed)).await;
    let later = now + HOUR * 3 / 4;
    time.set_unix_time(later);
    soon("the renewal", || identity.renewals(later).renewed >= 1).await;
    assert_eq!(registry.answered(RENEW_PATH), 1);
    drop(renewal);
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_is_asked_again_no_earlier_than_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::start(TestMesh::new(folder.path(), HOUR), ANY);
    let file = registry.join_file();
    let registrar = Registrar::new(&file, Clock::system()).unwrap();
    let identity = joined(&registrar, &file).await.unwrap();
    let before = identity.facts();
    registry.mesh.lock().unwrap().paces = true;
    let error = registrar.renew(&identity).await.unwrap_err();
    assert!(!error.is_final() && identity.facts() == before, "{error}");
    let mut backoff = Backoff::new(AGAIN, AGAIN_MAX);
    for random in [0, 1, u64::MAX] {
        assert!(pause_after(&error, &mut backoff, random) >= Duration::from_secs(7), "{random}");
    }
    registry.mesh.lock().unwrap().paces = false;
    registrar.renew(&identity).await.unwrap();
}

#[tokio::test]
async fn a_renewal_for_another_member_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let registry = TestRegistry::start(TestMesh::new(folder.path(), HOUR), ANY);
    let file = registry.join_file();
    let registrar = Registrar::new(&file, Clock::system()).unwrap();
    let other = registry.mesh.lock().unwrap().svid("spiffe://shop.example/ns/shop/cart", HOUR);
    let before = other.facts();
    let error = registrar.renew(&other).await.unwrap_err();
    assert!(matches!(&error, IdentityError::Refused { code, .. } if code == "node.identity"));
    assert_eq!(other.facts(), before);
    assert_eq!(registry.answered(RENEW_PATH), 0);
}

#[test]
fn an_svid_is_renewed_at_50_to_70_percent_of_its_life_and_proxies_spread_out() {
    for life in [0, 10, 30, 3_600, 86_400] {
        let random = Random::seeded(life);
        let waits: Vec<Duration> =
            (0..500).map(|_| wait(Duration::from_secs(life), random)).collect();
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        let part = |percent: u64| Duration::from_millis(life * 10 * percent);
        assert!(*least >= part(50) && *most <= part(70), "{life}: {least:?} to {most:?}");
        assert!(*least <= part(52) && *most >= part(68), "{life}: {least:?} to {most:?}");
    }
}
