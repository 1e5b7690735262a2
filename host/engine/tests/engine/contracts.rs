//! Filters of every version of the contract that this host serves, in one engine.

use crate::guests::{behaviour, engine, frozen, given, view};
use std::path::Path;
use tamis_engine::{Contract, EngineError, Responses};
use tamis_exchange::{Choice, Edit, FieldLine, Verdict};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

fn marked(value: &str) -> Vec<Edit> {
    vec![Edit::SetHeader(FieldLine { name: "x-frozen".into(), value: value.into() })]
}

#[test]
fn a_filter_of_the_first_contract_serves_in_every_hook_as_it_did() {
    let filter = given().filter(frozen(), "\"buffered\"").unwrap();
    assert_eq!(filter.contract(), Contract::V0_1);
    assert_eq!(filter.responses(), Responses::Upstream);
    let mut instance = filter.instantiate().unwrap();
    let mut seen = view(filter.reads(), 1, "/a");
    let decision = instance.on_request(&seen).unwrap();
    assert_eq!(decision.verdict, Verdict::Change(marked("/a")));
    assert_eq!(decision.reason.as_deref(), Some("frozen.seen"));
    let body = instance.on_request_body(&seen, b"hello", true).unwrap();
    assert_eq!(body.verdict, Verdict::Replace(b"HELLO".to_vec()));
    let Choice::Forward(selection) = instance.on_route(&seen).unwrap() else {
        panic!("not routed")
    };
    assert_eq!(selection.request_edits, marked("routed"));
    seen.status = 201;
    let decision = instance.on_response(&seen).unwrap();
    assert_eq!(decision.verdict, Verdict::Change(marked("201")));
    let body = instance.on_response_body(&seen, b"hello", true).unwrap();
    assert_eq!(body.verdict, Verdict::Replace(b"HELLO".to_vec()));
}

#[test]
fn filters_of_both_contracts_serve_in_turn() {
    let given = given();
    let old = given.filter(frozen(), "{}").unwrap();
    let new = given.does("edit").unwrap();
    assert_eq!(new.contract(), Contract::V0_2);
    assert_eq!(behaviour().inspection().contract, Contract::V0_2);
    let (mut old_one, mut new_one) = (old.instantiate().unwrap(), new.instantiate().unwrap());
    for id in 1..10 {
        let path = format!("/{id}");
        let answer = old_one.on_request(&view(old.reads(), id, &path)).unwrap();
        assert_eq!(answer.verdict, Verdict::Change(marked(&path)));
        let answer = new_one.on_request(&view(new.reads(), id, &path)).unwrap();
        let edit = FieldLine { name: "x-path".into(), value: path.into_bytes() };
        assert_eq!(answer.verdict, Verdict::Change(vec![Edit::SetHeader(edit)]));
    }
}

/// A component that does nothing, of a world over both versions of the contract.
fn of(world: &str) -> Result<(), EngineError> {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut resolve = Resolve::default();
    resolve.push_dir(wit.join("0.1")).unwrap();
    resolve.push_dir(wit).unwrap();
    let text = format!("package a:b; world filter {{ {world} }}");
    let package = resolve.push_str("filter.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("filter")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    engine().compile(&component, None).map(drop)
}

#[test]
fn a_component_is_of_one_contract_in_all_its_parts() {
    for (world, says) in [
        ("export tamis:filter/lifecycle@0.1.0; export tamis:filter/request@0.1.0;", ""),
        ("export tamis:filter/lifecycle@0.2.0; export tamis:filter/request@0.2.0;", ""),
        ("export tamis:filter/lifecycle@0.2.0; export tamis:filter/request@0.1.0;", "it mixes"),
        ("export tamis:filter/lifecycle@0.1.0; export tamis:filter/request@0.2.0;", "it mixes"),
        ("import tamis:filter/log@0.1.0; export tamis:filter/lifecycle@0.2.0;", "it mixes"),
        ("export tamis:filter/request@0.1.0;", "does not export `tamis:filter/lifecycle@0.1.0`"),
        ("export tamis:filter/request@0.2.0;", "does not export `tamis:filter/lifecycle@0.2.0`"),
    ] {
        let said = of(world).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(said.is_empty(), says.is_empty(), "{world}: {said}");
        assert!(said.contains(says), "{world}: {said}");
    }
}
