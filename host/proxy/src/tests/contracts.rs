//! Filters of both contracts in one chain.

use super::live::LiveProxy;
use super::*;
use tamis_engine::Contract;

/// The filter of contract 0.1.
fn old(name: &str, bodies: &str) -> Attachment {
    let options = options(&Value::from(bodies), "sha256:01");
    let filter = Filter::new(frozen(), options).unwrap();
    assert_eq!(filter.contract(), Contract::V0_1);
    let occupant = SlotOccupant::Running(filter);
    let name = format!("test/{name}");
    Attachment { occupant, name, ..attached(&json!({}), None, OnFailure::Closed) }
}

#[test]
fn both_contracts_serve_in_one_chain() {
    let new = json!({
        "reads": ["x-frozen"], "writes": ["x-new"], "set": [["x-new", "1"]],
        "response_set": [["x-new", "1"]], "body": "capitals", "whole_up_to": 1000,
    });
    let new = || Attachment { name: "test/new".into(), ..attached(&new, None, OnFailure::Closed) };
    for bodies in ["none", "buffered", "chunks"] {
        // The last routes: once a filter of each contract does.
        let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
        // A router of the newest contract may extend one of an earlier.
        let open = json!({ "reads": [":path"], "rules": [["/own", "ns/own/0"]], "extend": true });
        let extension = Attachment {
            name: "test/extension".into(),
            extends: true,
            ..attached(&open, None, OnFailure::Closed)
        };
        let chains = [
            (vec![new(), old("first", bodies), router], "/a"),
            (vec![new(), old("router", bodies)], "routed"),
            (vec![new(), extension, old("router", bodies)], "routed"),
        ];
        for (filters, mark) in chains {
            let live = LiveProxy::start(filters, ProxyOptions::default());
            for _ in 0..3 {
                let (status, head, body) = live.client().post("/a", &[], "hello");
                assert_eq!(status, 200, "{bodies}: {head}");
                let (head, body) = (head.to_lowercase(), body.to_lowercase());
                assert!(body.contains(&format!("x-frozen: {mark}\r\n")), "{bodies}: {body}");
                assert!(body.contains("x-new: 1\r\n"), "{bodies}: {body}");
                assert!(head.contains("x-frozen: 200\r\n"), "{bodies}: {head}");
                assert!(head.contains("x-new: 1\r\n"), "{bodies}: {head}");
            }
        }
    }
}
