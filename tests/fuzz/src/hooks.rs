//! Answers of a hostile component: the engine lifts them, or states why it cannot.

use std::sync::{Arc, LazyLock};
use tamis_engine::{
    Admission, CallFault, CompiledComponent, Engine, Filter, FilterOptions, FilterState, Isolation,
    OnFailure,
};
use tamis_exchange::View;
use tamis_observe::Metrics;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Bytes a fuzzer gives at most.
const LONGEST: usize = 4096;
/// A status of the view by which the component answers with a pointer of its choice.
const WILD_POINTER: u16 = 1;

/// Answers its self-test well, and everything else with the view's bytes as they lie in its memory: the return area
/// of the canonical ABI is then of the fuzzer's making. They always lie at 65,536.
const MODULE: &str = r#"
(module
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 65536))
  (data (i32.const 16) "\20\00\00\00\02\00\00\00")
  (data (i32.const 32) "{}")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $reset (global.set $next (i32.const 65536)))
  (func (export "tamis:filter/lifecycle@0.2.0#config-schema") (result i32) (i32.const 16))
  (func (export "tamis:filter/lifecycle@0.2.0#validate") (param i32 i32) (result i32)
    (call $reset) (i32.const 1024))
  (func (export "tamis:filter/lifecycle@0.2.0#configure") (param i32 i32) (result i32)
    (call $reset) (i32.const 1024))
  (func (export "tamis:filter/request@0.2.0#on-request")
    (param $exchange i64) (param $method i32) (param $status i32)
    (param $octets i32) (param i32) (param i32) (param i32) (result i32)
    (call $reset)
    (if (result i32) (i64.eqz (local.get $exchange))
      (then (i32.const 1024))
      (else
        (if (result i32) (i32.eqz (local.get $status))
          (then (local.get $octets))
          (else (i32.load (local.get $octets)))))))
)"#;

static COMPILED: LazyLock<CompiledComponent> = LazyLock::new(|| {
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(contract).unwrap();
    let world = resolve.select_world(&[package], Some("authorizer")).unwrap();
    let mut module = wat::parse_str(MODULE).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let component = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    Engine::new().unwrap().compile(&component, None).unwrap()
});

fn filter() -> Filter {
    let metrics = Arc::new(Metrics::new());
    let options = FilterOptions {
        name: "test/hostile".into(),
        digest: "sha256:00".into(),
        version: "0.1.0".into(),
        config_json: "{}".into(),
        admission: Admission::everything(),
        // Of its own for each case: a filter that keeps failing is not called any more.
        state: Arc::new(FilterState::new(metrics)),
        fetch: None,
        failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    };
    Filter::new(&COMPILED, options).expect("it passes its self-test")
}

/// Whatever the component answers, the call ends with a decision or a fault with its reason, and the next
/// call finds an instance that serves. The first byte selects whether the pointer to the answer is the
/// component's too.
pub fn hooks(data: &[u8]) {
    let Some((kind, answer)) = data.split_first() else { return };
    let answer = answer.get(..LONGEST).unwrap_or(answer);
    let filter = filter();
    let mut instance = filter.instantiate().expect("an instance");
    let view = View {
        exchange: 1,
        status: u16::from(kind % 2) * WILD_POINTER,
        octets: answer.to_vec(),
        ..View::default()
    };
    match instance.on_request(&view) {
        Ok(decision) => drop(format!("{decision:?}")),
        Err(CallFault::BadAnswer(why) | CallFault::Trap(why)) => assert!(!why.is_empty()),
        Err(CallFault::Memory { .. } | CallFault::Deadline { .. }) => {}
        Err(other) => unreachable!("no other fault can come of an answer: {other:?}"),
    }
    let decision = instance.on_request(&View::default()).expect("the next call is served");
    assert_eq!(decision.reason, None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_exchange::{Decision, Edit, Verdict};

    /// Lifts what the component makes of an entry of the corpus.
    fn lifted(name: &str) -> Result<Decision, CallFault> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/hooks/");
        let entry = std::fs::read(format!("{folder}{name}")).unwrap();
        let (kind, octets) = entry.split_first().unwrap();
        let view = View {
            exchange: 1,
            status: u16::from(kind % 2) * WILD_POINTER,
            octets: octets.to_vec(),
            ..View::default()
        };
        filter().instantiate().unwrap().on_request(&view)
    }

    #[test]
    fn the_corpus_reaches_what_it_is_meant_to_reach() {
        let changed = lifted("change").unwrap();
        assert_eq!(changed.reason.as_deref(), Some("x-user"));
        let Verdict::Change(edits) = changed.verdict else { panic!("{changed:?}") };
        let [Edit::SetHeader(line)] = edits.as_slice() else { panic!("{edits:?}") };
        assert_eq!((line.name.as_str(), line.value.as_slice()), ("x-user", b"alice".as_slice()));
        let Verdict::Answer(reply) = lifted("answer").unwrap().verdict else { panic!() };
        assert_eq!((reply.status, reply.body.as_slice()), (403, b"denied".as_slice()));
        for name in ["edits-in-thin-air", "no-such-verdict", "answer-at-the-end-of-memory"] {
            assert!(matches!(lifted(name), Err(CallFault::BadAnswer(_))), "{name}");
        }
    }
}
