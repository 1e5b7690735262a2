//! The room for instances: what one component may take of it, and what one owner leaves to others.

use crate::guests::{GuestOptions, behaviour_bytes, engine, given, view};
use std::sync::Arc;
use std::time::Duration;
use tamis_engine::{
    CallFault, Engine, EngineError, FetchFuture, FetchRequest, FetchResponse, Filter, FilterState,
    HttpClientGrant, HttpFetch,
};
use wasmparser::{Parser, Payload};

/// The guest, and in it `count` instances of a module whose section of that number has `each` entries.
fn with_instances(section: u8, entry: &[u8], each: u8, count: u8) -> Vec<u8> {
    let base = behaviour_bytes();
    let (mut depth, mut modules) = (0_usize, 0_u8);
    for payload in Parser::new(0).parse_all(base) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => {
                modules += u8::from(depth == 0);
                depth += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    if each > 0 {
        let entries = entry.repeat(each.into());
        module.extend([section, u8::try_from(entries.len() + 1).unwrap(), each]);
        module.extend(entries);
    }
    let mut component = base.to_vec();
    component.extend([1, u8::try_from(module.len()).unwrap()]);
    component.extend(module);
    let mut instances = vec![count];
    instances.extend([0, modules, 0].repeat(count.into()));
    // The length in LEB128 of two octets.
    component.extend([2, u8::try_from(instances.len() % 128).unwrap() | 128]);
    component.push(u8::try_from(instances.len() / 128).unwrap());
    component.extend(instances);
    component
}

#[test]
fn a_component_that_takes_more_than_its_part_of_the_room_is_refused_when_it_is_loaded() {
    let (table, memory) = (&[0x70, 0, 1][..], &[0, 1][..]);
    for (section, entry, each, count, refused) in [
        (4, table, 1, 6, None),
        (4, table, 1, 7, Some("9 tables; at most 8")),
        (4, table, 2, 1, Some("tables count of 2 exceeds")),
        (4, table, 1, 60, Some("tables")),
        (5, memory, 1, 3, None),
        (5, memory, 1, 4, Some("5 memories; at most 4")),
        (5, memory, 2, 1, Some("memories count of 2 exceeds")),
        (0, &[], 0, 61, None),
        (0, &[], 0, 62, Some("core module instances")),
    ] {
        let row = format!("{count} modules with {each} of section {section}");
        let compiled = engine().compile(&with_instances(section, entry, each, count), None);
        match (compiled, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => {
                let text = error.to_string();
                assert_eq!(error.code(), "filter.invalid");
                assert!(text.contains(part), "{text}");
                // Of one core module the compiler says how many it may have.
                assert!(each > 1 || text.contains("link its modules into"), "{text}");
            }
            (compiled, _) => panic!("{row}: {:?}", compiled.err().map(|error| error.to_string())),
        }
    }
}

/// Options of an attachment in that namespace, for so many workers.
fn owned(owner: &str, workers: usize) -> GuestOptions {
    let given = given();
    let state = FilterState::new(Arc::clone(&given.metrics)).with_owner(owner, workers);
    let mut given = GuestOptions { state: Arc::new(state), ..given };
    given.grant.limits.time_us = 2_000_000;
    given
}

#[test]
fn filters_of_one_namespace_leave_room_for_those_of_others_and_for_what_replaces_a_failed_instance()
{
    let engine = Engine::new().unwrap();
    let compiled = engine.compile(&with_instances(4, &[0x70, 0, 1], 1, 6), None).unwrap();
    let config = r#"{"do":"trap","reads":[":path"],"writes":["x-path"]}"#;
    let made = |owner: &str| owned(owner, 16).filter(&compiled, config);
    let mut held: Vec<Filter> = Vec::new();
    let refused = loop {
        match made("greedy") {
            Ok(filter) => {
                filter.prepare(16);
                held.push(filter);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), "filter.no-room");
    assert!(matches!(refused, EngineError::NoRoom { .. }));
    let text = refused.to_string();
    assert!(text.contains("`greedy`") && text.contains("tables"), "{text}");
    let victims: Vec<Filter> = (0..4).map(|_| made("victim").unwrap()).collect();
    for victim in &victims {
        victim.prepare(16);
        let mut instances: Vec<_> = (0..16).map(|_| victim.instance()).collect();
        for instance in &mut instances {
            instance.warm().unwrap();
        }
        // Each fails, and has another one.
        let seen = view(victim.reads(), 1, "/a");
        assert!(matches!(instances[0].on_request(&seen), Err(CallFault::Trap(_))));
        while let Err(fault) = instances[0].warm() {
            assert_eq!(fault, CallFault::Remaking);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // What is gone makes room.
    drop(victims);
    held.pop();
    held.push(made("greedy").unwrap());
}

struct QuickServer;

impl HttpFetch for QuickServer {
    fn fetch(&self, _: FetchRequest) -> FetchFuture {
        let response = FetchResponse { status: 200, headers: vec![], body: b"keys".to_vec() };
        Box::pin(async { Ok(response) })
    }
}

#[tokio::test]
async fn calls_that_wait_of_one_namespace_leave_room_for_those_of_others() {
    let engine = Engine::new().unwrap();
    let compiled = engine.compile(behaviour_bytes(), None).unwrap();
    let config = r#"{"do":"fetch","reads":[":path"],"writes":["x-path"]}"#;
    let made = |owner: &str| {
        let mut given = owned(owner, 1);
        given.fetch = Some(Arc::new(QuickServer));
        given.grant.imports.http_client = Some(HttpClientGrant {
            hosts: vec!["idp.example".into()],
            during_requests: true,
            ..HttpClientGrant::default()
        });
        given.filter(&compiled, config).unwrap()
    };
    let greedy: Vec<Filter> = (0..20).map(|_| made("greedy")).collect();
    let (mut held, mut refused) = (Vec::new(), None);
    'all: for filter in &greedy {
        for _ in 0..64 {
            let mut instance = filter.instance();
            let answer = instance.on_request_async(&view(filter.reads(), 1, "/")).await;
            match answer {
                Ok(_) => held.push(instance),
                Err(fault) => {
                    refused = Some(fault);
                    break 'all;
                }
            }
        }
    }
    assert_eq!(refused, Some(CallFault::Remaking), "{} held", held.len());
    assert!(held.len() < 1_024 / 2 + 1, "{}", held.len());
    let victim = made("victim");
    for _ in 0..16 {
        let mut instance = victim.instance();
        instance.on_request_async(&view(victim.reads(), 1, "/")).await.unwrap();
        held.push(instance);
    }
}
