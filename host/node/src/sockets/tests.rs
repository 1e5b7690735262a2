//! Addresses and certificates: faults are reported, and the last good version stays.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tamis_ambient::Clock;
use tamis_resources::plan::{ChainPlan, Http3Plan};
use tempfile::TempDir;

const PEER: &str = "spiffe://test.example/ns/test/service/app";

/// A folder with an authority `ca.crt` and a pair `own.crt`, `own.key` that it signed.
fn certified() -> (TempDir, DocumentPlaces) {
    let folder = TempDir::new().unwrap();
    let source = DocumentPlaces::folder(folder.path());
    renew(&source);
    (folder, source)
}

fn renew(source: &DocumentPlaces) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(PEER.try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, &ca).unwrap();
    std::fs::write(source.path("ca.crt"), ca.pem()).unwrap();
    std::fs::write(source.path("own.crt"), own.pem()).unwrap();
    std::fs::write(source.path("own.key"), key.serialize_pem()).unwrap();
}

fn listener(name: &str, address: AddressPlan, tls: bool) -> ListenerPlan {
    ListenerPlan {
        name: name.to_owned(),
        address,
        tls: tls.then(|| {
            TlsPlan::Files(ListenerFilesPlan {
                certificate: "own.crt".to_owned(),
                key: "own.key".to_owned(),
                client_ca: Some("ca.crt".to_owned()),
            })
        }),
        direction: TrafficDirection::Gateway,
        chain: ChainPlan { attachments: Vec::new() },
        rules: ListenerRulesPlan::default(),
        tcp: None,
        captured: None,
        plaintext: None,
    }
}

#[test]
fn the_rules_of_a_listener_are_those_of_its_plan_and_none_carries_http() {
    let upgrades = ["shout", "h2c", "TLS/1.0", "connect-udp"].map(str::to_owned).to_vec();
    let plan = ListenerRulesPlan {
        upgrades,
        reasons: ListenerReasons::Hide,
        grpc_web: true,
        interim_responses: InterimResponses::Http2,
        empty_segments: EmptySegments::Keep,
        escaped_slashes: AmbiguousPaths::Keep,
        parameters: AmbiguousPaths::Keep,
        escapes: PathEscapes::Unreserved,
        client_address: Some(ClientAddressPlan {
            field: ClientAddressField::Forwarded,
            trusted: Some(vec!["10.0.0.0/8".to_owned()]),
            hops: Some(2),
        }),
        proxy_protocol: Some(vec!["10.0.0.0/8".to_owned()]),
        hostname: Some("*.shop.example".to_owned()),
        elsewhere: vec!["a.shop.example".to_owned()],
        http3: Some(Http3Plan { advertised_for: Some(60) }),
    };
    let trusted = ["10.0.0.0/8".to_owned()];
    let expected = ListenerRules {
        paths: PathRules::KEEP,
        upgrades: Protocols::new(["shout"]),
        reasons: Reasons::Hide,
        grpc_web: true,
        interim: InterimClients::Http2,
        trusted_proxies: TrustedProxies::new(ForwardedField::Forwarded, Some(&trusted), Some(2))
            .ok(),
        header_senders: AddressPrefixes::new(&trusted).ok(),
        hostname: Some(HostPattern::new("*.shop.example")),
        elsewhere: vec![HostPattern::new("a.shop.example")],
        http3: Some(Http3Rules { advertised_for: Some(60) }),
    };
    assert_eq!(rules(&plan), expected);
    let invalid = ListenerRulesPlan {
        proxy_protocol: Some(vec!["a".to_owned()]),
        ..ListenerRulesPlan::default()
    };
    assert_eq!(rules(&invalid).header_senders, Some(AddressPrefixes::default()), "nobody");
    assert_eq!(rules(&ListenerRulesPlan::default()), ListenerRules::default());
}

fn tcp(text: &str) -> AddressPlan {
    AddressPlan::Tcp(text.to_owned())
}

fn service(endpoints: Vec<EndpointPlan>) -> ServicePlan {
    ServicePlan {
        name: "test/app:80".to_owned(),
        protocol: ProtocolPlan::Http1,
        endpoints,
        policy: PolicyPlan::default(),
    }
}

fn endpoint(address: AddressPlan, identity: Option<&str>) -> EndpointPlan {
    let files = || MemberFilesPlan {
        certificate: "own.crt".to_owned(),
        key: "own.key".to_owned(),
        ca: "ca.crt".to_owned(),
    };
    let tls = identity.map(|identity| {
        UpstreamTlsPlan::Member(MemberTlsPlan {
            files: Some(files()),
            expect_identity: identity.to_owned(),
            server_name: "app".to_owned(),
        })
    });
    EndpointPlan { address, weight: 1, tls }
}

#[test]
fn a_listener_that_cannot_be_had_is_named_and_the_others_listen() {
    let (_folder, source) = certified();
    let plans = [
        listener("name", AddressPlan::Dns("app.example:80".to_owned()), false),
        listener("text", tcp("somewhere"), false),
        listener("tls", tcp("127.0.0.1:1"), true),
        listener("unix", AddressPlan::Unix("/run/app.sock".to_owned()), false),
    ];
    let mut notes = Vec::new();
    let listeners =
        Sockets::new(Clock::system(), Membership::Absent).listeners(&source, &plans, &mut notes);
    let names: Vec<_> = listeners.iter().map(|one| (one.name.as_str(), one.chain)).collect();
    assert_eq!(names, [("tls", 2), ("unix", 3)], "chains are numbered as in the plan");
    assert_eq!(notes.len(), 2);
    assert_eq!(notes[0], "listener `name`: `app.example:80` is a name; write an IP address");
    assert!(notes[1].starts_with("listener `text`: "), "{}", notes[1]);
}

#[test]
fn a_certificate_that_is_not_there_keeps_its_listener_closed() {
    let (_folder, source) = certified();
    std::fs::remove_file(source.path("own.crt")).unwrap();
    let mut notes = Vec::new();
    let plans = [listener("https", tcp("127.0.0.1:1"), true)];
    assert!(
        Sockets::new(Clock::system(), Membership::Absent)
            .listeners(&source, &plans, &mut notes)
            .is_empty()
    );
    assert!(notes[0].contains("own.crt") && notes[0].ends_with("it does not listen"), "{notes:?}");
}

#[test]
fn a_broken_certificate_leaves_the_one_in_use_and_a_new_one_replaces_it() {
    let (_folder, source) = certified();
    let plans = [listener("https", tcp("127.0.0.1:1"), true)];
    let mut sockets = Sockets::new(Clock::system(), Membership::Absent);
    let mut tls = |notes: &mut Vec<String>| {
        let mut listeners = sockets.listeners(&source, &plans, notes);
        let stamp = sockets.stamp().join("");
        (listeners.remove(0).tls.unwrap(), stamp)
    };
    let mut notes = Vec::new();
    let (first, stamp) = tls(&mut notes);
    let (same, same_stamp) = tls(&mut notes);
    assert!(Arc::ptr_eq(&first, &same) && stamp == same_stamp);

    std::fs::write(source.path("own.key"), "no key").unwrap();
    let (kept, kept_stamp) = tls(&mut notes);
    assert!(Arc::ptr_eq(&first, &kept) && stamp == kept_stamp);
    assert!(notes[0].contains("own.key") && notes[0].contains("stays in use"), "{notes:?}");

    notes.clear();
    renew(&source);
    let (renewed, new_stamp) = tls(&mut notes);
    assert!(!Arc::ptr_eq(&first, &renewed) && stamp != new_stamp && notes.is_empty());
}

#[test]
fn an_endpoint_that_cannot_be_reached_safely_is_left_out_of_its_service() {
    let (_folder, source) = certified();
    let plan = service(vec![
        endpoint(AddressPlan::Dns("app.example:8080".to_owned()), None),
        endpoint(AddressPlan::Dns("no-port".to_owned()), None),
        endpoint(AddressPlan::Dns("app.example:99999".to_owned()), None),
        endpoint(tcp("127.0.0.1:2"), Some("https://no.spiffe")),
        endpoint(tcp("127.0.0.1:3"), Some(PEER)),
    ]);
    let mut notes = Vec::new();
    let services =
        Sockets::new(Clock::system(), Membership::Absent).services(&source, &[plan], &mut notes);
    let endpoints = &services[0].endpoints;
    assert_eq!(endpoints.len(), 2);
    assert!(
        matches!(&endpoints[0].target, EndpointTarget::Dns { host, port: 8080 } if host == "app.example")
    );
    assert!(endpoints[0].tls.is_none() && endpoints[1].tls.is_some());
    assert_eq!(notes.len(), 3);
    assert!(notes.iter().all(|note| note.starts_with("service `test/app:80`: ")), "{notes:?}");
    assert!(notes[0].contains("`no-port` has no port"));
}

#[test]
fn connections_are_kept_while_the_certificate_is_the_same_and_never_in_clear_text_without_one() {
    let (_folder, source) = certified();
    let plans = [service(vec![endpoint(tcp("127.0.0.1:3"), Some(PEER))])];
    let mut sockets = Sockets::new(Clock::system(), Membership::Absent);
    let mut key = |notes: &mut Vec<String>| {
        let services = sockets.services(&source, &plans, notes);
        services[0].endpoints.first().map(|one| one.tls_key.clone())
    };
    let mut notes = Vec::new();
    let first = key(&mut notes).unwrap();
    assert_eq!(key(&mut notes).unwrap(), first);
    std::fs::write(source.path("ca.crt"), "no certificate").unwrap();
    assert_eq!(key(&mut notes).unwrap(), first, "the previous certificate stays in use");
    assert!(notes[0].contains("ca.crt") && notes[0].contains("stays in use"), "{notes:?}");
    renew(&source);
    assert_ne!(key(&mut notes).unwrap(), first);

    std::fs::remove_file(source.path("own.key")).unwrap();
    notes.clear();
    let services =
        Sockets::new(Clock::system(), Membership::Absent).services(&source, &plans, &mut notes);
    assert!(services[0].endpoints.is_empty(), "no certificate, no connection");
    assert!(notes[0].ends_with("its endpoint is not used"), "{notes:?}");
}

/// Writes a pair that the authority in `ca.crt` did not sign, or that differs from the previous one in a
/// given way.
fn replace(source: &DocumentPlaces, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.subject_alt_names.clear();
    for name in names {
        params.subject_alt_names.push(SanType::URI((*name).try_into().unwrap()));
    }
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, &ca).unwrap();
    std::fs::write(source.path("own.crt"), own.pem()).unwrap();
    std::fs::write(source.path("own.key"), key.serialize_pem()).unwrap();
    // The authority is trusted too, except in the row about it.
    let both = std::fs::read_to_string(source.path("ca.crt")).unwrap() + &ca.pem();
    std::fs::write(source.path("ca.crt"), both).unwrap();
}

/// What breaks the certificate of a source.
type Break = fn(&DocumentPlaces);

/// Ways in which a certificate does not work, with a part of the message for each.
fn breaks() -> [(&'static str, Break); 6] {
    [
        ("expired at 2001", |source| {
            replace(source, &[PEER], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
        }),
        ("is not valid before 2999", |source| {
            replace(source, &[PEER], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
        }),
        ("must be for spiffe://test.example/ns/test/service/app", |source| {
            replace(source, &["spiffe://test.example/ns/test/service/other"], |_| {});
        }),
        ("is not signed by an authority in", |source| {
            let before = std::fs::read_to_string(source.path("ca.crt")).unwrap();
            replace(source, &[PEER], |_| {});
            std::fs::write(source.path("ca.crt"), before).unwrap();
        }),
        ("cannot be used together", |source| {
            let certificate = std::fs::read_to_string(source.path("own.crt")).unwrap();
            replace(source, &[PEER], |_| {});
            std::fs::write(source.path("own.crt"), certificate).unwrap();
        }),
        ("cannot read", |source| std::fs::remove_file(source.path("own.key")).unwrap()),
    ]
}

#[test]
fn a_check_of_documents_tells_of_certificates_that_do_not_work() {
    let text = format!(
        "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: app, namespace: test }}\nspec:\n  \
         ports: [{{ port: 80, protocol: http }}]\n  identity: {PEER}\n  \
         tls: {{ certificate: own.crt, key: own.key, ca: ca.crt }}\n  endpoints: [{{ address: 127.0.0.1:1, sidecar: 127.0.0.1:2 }}]\n"
    );
    let (documents, problems) = tamis_resources::parse("app.yaml", &text);
    assert!(problems.is_empty(), "{problems:?}");
    let found = |source: &DocumentPlaces| -> Vec<String> {
        let store = crate::store::ArtifactStore::new(Vec::new());
        let shared = crate::testing::shared();
        let mut examiner = crate::PlanExaminer::new(&shared, source.clone(), store).unwrap();
        let node = "sidecar:test/app/0".parse().unwrap();
        let findings = examiner.look(&documents, &node).into_iter();
        findings
            .map(|one| match one {
                crate::Finding::Note(note) => note,
                crate::Finding::Problem(problem) => problem.to_string(),
            })
            .collect()
    };
    for (why, break_it) in breaks() {
        let (_folder, source) = certified();
        assert_eq!(found(&source), Vec::<String>::new(), "{why}");
        break_it(&source);
        let notes = found(&source);
        assert!(notes.iter().any(|note| note.contains(why)), "{why}: {notes:?}");
    }
}

#[test]
fn a_certificate_that_does_not_work_never_replaces_one_that_does_in_a_listener_or_towards_upstreams()
 {
    for (why, break_it) in breaks() {
        let (_folder, source) = certified();
        let mut inbound = listener("mesh", tcp("127.0.0.1:1"), true);
        inbound.direction = TrafficDirection::Inbound;
        let services = [service(vec![endpoint(tcp("127.0.0.1:3"), Some(PEER))])];
        let mut sockets = Sockets::new(Clock::system(), Membership::Absent);
        let mut stage = |notes: &mut Vec<String>| {
            sockets.begin(Some(PEER));
            let mut listeners = sockets.listeners(&source, std::slice::from_ref(&inbound), notes);
            let services = sockets.services(&source, &services, notes);
            let key = services[0].endpoints.first().map(|one| one.tls_key.clone());
            let listener = listeners.pop().and_then(|one| one.tls);
            let told =
                (sockets.changed(), std::mem::take(&mut sockets.renewed), sockets.certificates());
            (listener, key, told)
        };
        let mut notes = Vec::new();
        let (listens, towards, (changed, renewed, certificates)) = stage(&mut notes);
        assert!(notes.is_empty() && !changed && renewed.is_empty(), "{why}: {notes:?}");
        let uses: Vec<_> = certificates.iter().map(|one| one.used_by.as_str()).collect();
        assert_eq!(uses, ["listener mesh", "upstreams"]);

        break_it(&source);
        let (kept, still, (_, renewed, after)) = stage(&mut notes);
        assert!(Arc::ptr_eq(&listens.unwrap(), &kept.unwrap()) && towards == still, "{why}");
        assert_eq!((renewed.len(), after), (0, certificates), "{why}");
        assert_eq!(notes.len(), 2, "{why}: {notes:?}");
        assert!(notes.iter().all(|note| note.contains(why)), "{why}: {notes:?}");
        assert!(notes.iter().all(|note| note.contains("stays in use")), "{notes:?}");

        // One that works replaces it, and is reported with its expiry.
        notes.clear();
        renew(&source);
        let (_, new, (_, renewed, _)) = stage(&mut notes);
        assert!(notes.is_empty() && new != towards, "{why}: {notes:?}");
        assert!(renewed.iter().all(|line| line.contains("own.crt")), "{renewed:?}");
        assert_eq!(renewed.len(), 2, "{why}: {renewed:?}");
    }
}

#[test]
fn a_certificate_that_never_worked_is_not_used() {
    let (_folder, source) = certified();
    replace(&source, &[PEER], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let mut notes = Vec::new();
    let plans = [listener("https", tcp("127.0.0.1:1"), true)];
    assert!(
        Sockets::new(Clock::system(), Membership::Absent)
            .listeners(&source, &plans, &mut notes)
            .is_empty()
    );
    assert!(notes[0].contains("expired at 2001") && notes[0].ends_with("it does not listen"));
}

/// A certificate for a host with its key, as an order leaves it.
fn ordered_pem(host: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap();
    format!("{}{}", key.serialize_pem(), own.pem())
}

fn awaiting(host: &str) -> ListenerPlan {
    let acme = ListenerAcmePlan { host: host.to_owned(), client_ca: None };
    let tls = Some(TlsPlan::Acme(acme));
    ListenerPlan { tls, ..listener("https", tcp("127.0.0.1:1"), false) }
}

#[test]
fn a_listener_awaits_the_certificate_of_its_host_takes_it_when_it_is_there_and_no_other() {
    let (folder, source) = certified();
    let kept = KeptCertificates::new(folder.path().join("acme"));
    std::fs::create_dir(folder.path().join("acme")).unwrap();
    let fresh = || Sockets::new(Clock::system(), Membership::Absent).with_ordered(kept.clone());
    let names = |sockets: &mut Sockets, host: &str, notes: &mut Vec<String>| {
        sockets.begin(None);
        let listeners = sockets.listeners(&source, &[awaiting(host)], notes);
        let facts = listeners[0].tls.as_ref().unwrap().facts();
        (facts.not_after > 0).then(|| facts.names.clone())
    };
    let (mut sockets, mut notes) = (fresh(), Vec::new());
    assert_eq!(names(&mut sockets, "pay.example", &mut notes), None);
    assert!(notes.is_empty() && !sockets.changed() && sockets.certificates().is_empty());

    std::fs::write(kept.file("pay.example"), ordered_pem("pay.example")).unwrap();
    assert!(sockets.changed());
    let pay = Some(vec!["pay.example".to_owned()]);
    assert_eq!(names(&mut sockets, "pay.example", &mut notes), pay);
    assert!(sockets.renewed[0].contains("listener `https` uses the new "), "{:?}", sockets.renewed);
    assert_eq!(sockets.certificates().len(), 1);

    std::fs::write(kept.file("pay.example"), ordered_pem("evil.example")).unwrap();
    assert_eq!(names(&mut sockets, "pay.example", &mut notes), pay);
    assert!(notes[0].ends_with("the previous certificate stays in use"), "{notes:?}");
    notes.clear();
    assert_eq!(
        names(&mut fresh(), "pay.example", &mut notes),
        None,
        "at a start there is no other"
    );
    assert!(notes[0].ends_with("its handshakes are refused until an order gives a new one"));

    // Another host is not served with the certificate of the one before.
    std::fs::write(kept.file("pay.example"), ordered_pem("pay.example")).unwrap();
    notes.clear();
    assert_eq!(names(&mut sockets, "pay.example", &mut notes), pay);
    assert_eq!(names(&mut sockets, "shop.example", &mut notes), None);
    assert!(notes.is_empty(), "{notes:?}");
}
