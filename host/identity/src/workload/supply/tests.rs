use std::path::Path;
use std::sync::Mutex;

use tamis_ambient::ManualTime;

use super::super::messages::AgentSvidEntry;
use super::super::testing::{CART, LEDGER, PAY, Step, TestAgent, TestDomain, message};
use super::*;

/// Waits for a condition that a thread brings about.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::system();
    let start = clock.now();
    while !holds() {
        assert!(clock.since(start) < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn started(agent: &TestAgent, clock: Clock) -> Result<AgentSvid, WorkloadError> {
    let wanted = WantedSvid::Id(PAY.parse().unwrap());
    let from = (clock, Random::system());
    AgentSvid::start(agent.socket.clone(), wanted, from, |_, _| {})
}

/// What a proxy that has an SVID says about it: how often it was replaced, how often that failed, and the problem.
fn counts(svid: &AgentSvid) -> (u64, u64) {
    let renewals = svid.identity().renewals(Duration::from_secs(Clock::system().unix_secs()));
    (renewals.renewed, renewals.failed)
}

#[test]
fn an_svid_is_rotated_and_what_cannot_be_used_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(folder.path());
    let [shop, twin] = [(); 2].map(|()| TestDomain::new("shop.example"));
    let partner = TestDomain::new("partner.example");
    let first = shop.entry(PAY);
    let mut federated = message(std::slice::from_ref(&first));
    federated.federated_bundles.insert("spiffe://partner.example".to_owned(), partner.bundle());
    agent.does(Step::message(&federated));
    let svid = started(&agent, Clock::system()).unwrap();
    let identity = svid.identity().clone();
    assert_eq!(identity.id().as_str(), PAY);
    assert_eq!(identity.federated(), ["partner.example"]);
    let next = shop.entry(PAY);
    let foreign = AgentSvidEntry { spiffe_id: PAY.to_owned(), ..partner.entry(LEDGER) };
    let rows = [
        (
            "the key of another",
            AgentSvidEntry { x509_svid_key: first.x509_svid_key.clone(), ..next.clone() },
        ),
        ("no key", AgentSvidEntry { x509_svid_key: Vec::new(), ..next.clone() }),
        (
            "another id in the certificate",
            AgentSvidEntry { spiffe_id: PAY.to_owned(), ..shop.entry(CART) },
        ),
        ("another domain", foreign),
        ("another authority", AgentSvidEntry { bundle: twin.bundle(), ..next.clone() }),
        ("no authority", AgentSvidEntry { bundle: Vec::new(), ..next.clone() }),
        ("another id", shop.entry(CART)),
    ];
    for (at, (what, entry)) in rows.iter().enumerate() {
        agent.does(Step::message(&message(std::slice::from_ref(entry))));
        soon(what, || counts(&svid) == (0, u64::try_from(at).unwrap() + 1));
    }
    agent.does(Step::message(&message(&[next.clone(), shop.entry(PAY)])));
    soon("two with that id", || counts(&svid).1 == 8);
    assert_eq!(identity.federated(), ["partner.example"], "a message counts as a whole");
    // After all of that the stream is still open, and the next good message counts.
    agent.does(Step::message(&message(&[next, shop.entry(CART)])));
    soon("the next SVID", || counts(&svid) == (1, 8));
    assert!(identity.federated().is_empty(), "what the agent withdraws is gone");
}

#[test]
fn an_agent_that_is_away_is_asked_again_while_its_svid_serves() {
    let folder = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(folder.path());
    let shop = TestDomain::new("shop.example");
    agent.does(Step::message(&message(&[shop.entry(PAY)])));
    let svid = started(&agent, Clock::system()).unwrap();
    let facts = svid.identity().facts();
    for (what, step) in [
        ("an end", Step::End),
        ("a status", Step::Status("7", "no identity issued")),
        ("oversize", Step::Octets(vec![0, 255, 255, 255, 255])),
    ] {
        let (renewed, failed) = counts(&svid);
        agent.does(step);
        soon(what, || counts(&svid).1 > failed);
        agent.does(Step::message(&message(&[shop.entry(PAY)])));
        soon("the stream is open again", || counts(&svid).0 > renewed);
    }
    assert!(svid.identity().facts().not_after >= facts.not_after);
    drop(agent);
    let before = counts(&svid).1;
    soon("the agent ended", || counts(&svid).1 > before);
    let agent = TestAgent::start(folder.path());
    let renewed = counts(&svid).0;
    agent.does(Step::message(&message(&[shop.entry(PAY)])));
    soon("another agent at the same socket", || counts(&svid).0 > renewed);
}

/// The reasons for which a start waits, with what the agent does meanwhile.
fn waits(
    folder: &Path,
    steps: Vec<Step>,
) -> (Result<AgentSvid, WorkloadError>, Vec<String>, TestAgent) {
    let agent = TestAgent::start(folder);
    steps.into_iter().for_each(|step| agent.does(step));
    let seen = Mutex::new(Vec::new());
    let wanted = WantedSvid::Id(PAY.parse().unwrap());
    let from = (Clock::system(), Random::system());
    let started = AgentSvid::start(agent.socket.clone(), wanted, from, |error, _| {
        seen.lock().unwrap().push(error.to_string());
    });
    (started, seen.into_inner().unwrap(), agent)
}

#[test]
fn a_start_waits_for_an_agent_and_ends_where_waiting_is_useless() {
    let folder = tempfile::tempdir().unwrap();
    let shop = TestDomain::new("shop.example");
    let good = || Step::message(&message(&[shop.entry(PAY)]));
    let no_id = || Step::Status("7", "no identity issued");
    let (svid, seen, agent) = waits(folder.path(), vec![no_id(), Step::End, good()]);
    assert_eq!(svid.unwrap().identity().id().as_str(), PAY);
    assert!(seen.len() == 2 && seen[0].contains("no identity issued"), "{seen:?}");
    drop(agent);
    let other = Step::message(&message(&[shop.entry(CART)]));
    let (refused, seen, _agent) = waits(folder.path(), vec![no_id(), other, good()]);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains(CART) && text.contains(PAY) && seen.len() == 1, "{text} {seen:?}");
}

#[test]
fn an_svid_that_expires_while_its_agent_is_silent_is_a_problem_that_names_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(folder.path());
    let shop = TestDomain::new("shop.example");
    let time = ManualTime::new();
    time.set_unix_time(Clock::system().unix_time());
    let entry = shop.entry(PAY);
    agent.does(Step::message(&message(std::slice::from_ref(&entry))));
    let svid = started(&agent, time.clock()).unwrap();
    let identity = svid.identity();
    let until = Duration::from_secs(u64::try_from(identity.facts().not_after).unwrap());
    let failed = || identity.renewals(until).failed;
    time.set_unix_time(until - Duration::from_secs(60));
    soon("it is late", || failed() == 1);
    let late = identity.renewals(until - Duration::from_secs(20)).problem.unwrap();
    assert!(late.contains("has not sent the next SVID"), "{late}");
    time.set_unix_time(until + Duration::from_secs(1));
    // What the agent has is no better: it is refused, and said so.
    agent.does(Step::message(&message(&[entry])));
    soon("the expired one is refused", || failed() == 2);
    let problem = identity.renewals(until).problem.unwrap();
    assert!(problem.contains("expired") && problem.contains("agent"), "{problem}");
}
