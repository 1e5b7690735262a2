//! One endpoint fails: what clients, the budget, the circuit and the other endpoint see of it.

use tamis_e2e::{Answer, Backend, Folder, eventually, get};

#[test]
fn a_failing_endpoint_is_retried_elsewhere_opens_its_circuit_and_comes_back() {
    let (good, bad) = (Backend::start(), Backend::start());
    bad.answers(Answer::Status(503));
    let folder = Folder::gateway(&[good.address, bad.address]);
    let _gateway = folder.start(&[]);

    // Clients see nothing of it.
    for n in 0..60 {
        assert_eq!(get(&folder.http, &format!("/{n}")).status, 200, "request {n}");
    }
    let endpoint = format!("endpoint=\"{}\"", bad.address);
    let circuit = |name: &str| folder.metric(&[name, &endpoint]);
    eventually("the circuit opens", || {
        get(&folder.http, "/more");
        (circuit("tamis_circuit_opened_total") >= Some(1.0)).then_some(())
    });
    assert!(folder.metric(&["tamis_upstream_retries_total{"]).unwrap() >= 5.0);
    let good_circuit = format!("endpoint=\"{}\"", good.address);
    assert_eq!(folder.metric(&["tamis_circuit_state", &good_circuit]), Some(0.0));
    assert_eq!(folder.metric(&["tamis_circuit_opened_total", &good_circuit]), Some(0.0));

    // While it is open nothing but probes arrives.
    let before = bad.count();
    for _ in 0..30 {
        assert_eq!(get(&folder.http, "/open").status, 200);
    }
    assert!(bad.count() - before <= 6, "{} arrived through an open circuit", bad.count() - before);

    // It recovers: probes succeed, the circuit closes, it takes its share again.
    bad.answers(Answer::Status(200));
    eventually("the circuit closes", || {
        get(&folder.http, "/again");
        (circuit("tamis_circuit_state") == Some(0.0)).then_some(())
    });
    let before = bad.count();
    eventually("it takes its share again", || {
        assert_eq!(get(&folder.http, "/share").status, 200);
        (bad.count() > before + 3).then_some(())
    });
}

#[test]
fn retries_are_bounded_by_the_budget_under_load() {
    let bad = Backend::start();
    bad.answers(Answer::Status(503));
    let folder = Folder::documents(&[bad.address]);
    folder.write(
        "policy.yaml",
        "kind: UpstreamPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
         spec:\n  targetRefs: [{ kind: Service, name: app }]\n  retryBudget: { percent: 20, minPerSecond: 1 }\n",
    );
    // No circuit in the way of what is counted.
    folder.edit("attachments.yaml", "consecutiveFailures: 5", "consecutiveFailures: 0");
    folder.edit("attachments.yaml", "minimumRequests: 1000", "minimumRequests: 1000000");
    folder.prepare();
    let _gateway = folder.start(&[]);
    let requests = 400;
    for _ in 0..requests {
        let reply = get(&folder.http, "/");
        assert_eq!(reply.status, 503);
    }
    let retries = folder.metric(&["tamis_upstream_retries_total{"]).unwrap();
    // 20 % of the requests, and a floor of one a second over the ten seconds of the window.
    let allowed = f64::from(requests) * 0.2 + 10.0;
    assert!(retries > 20.0 && retries <= allowed, "{retries} of {allowed} allowed");
    assert!(bad.count() as f64 <= f64::from(requests) + allowed);
    let refused = folder.metric(&["tamis_upstream_retries_refused_total{"]).unwrap();
    let empty = folder.records().iter().filter(|r| r["reason"] == "retry.budget-empty").count();
    assert!(refused + empty as f64 > 50.0, "{refused} refused, {empty} records say so");
}
