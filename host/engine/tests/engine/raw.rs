//! Components that no compiler writes: the canonical ABI, lied to.

use crate::guests::{engine, given, view};
use std::path::Path;
use tamis_engine::{CallFault, EngineError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The part of WASI that a language's own output uses.
const IO: &str = "package wasi:io@0.2.0;
    interface poll {
        resource pollable { ready: func() -> bool; }
        poll: func(in: list<borrow<pollable>>) -> list<u32>;
    }
    interface streams {
        use poll.{pollable};
        variant stream-error { last-operation-failed(string), closed }
        resource output-stream {
            check-write: func() -> result<u64, stream-error>;
            write: func(contents: list<u8>) -> result<_, stream-error>;
            blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
            subscribe: func() -> pollable;
        }
    }";
const CLI: &str = "package wasi:cli@0.2.0;
    interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }";
/// What is not used of it is not imported.
const WORLD: &str = "package test:raw;
    world raw {
        include tamis:filter/authorizer@0.2.0;
        import wasi:io/streams@0.2.0;
        import wasi:io/poll@0.2.0;
        import wasi:cli/stderr@0.2.0;
    }";

/// The core of an authorizer that passes everything, and what a row has otherwise.
struct Core {
    /// Before the memory: a start function, a table.
    extra: &'static str,
    memory: &'static str,
    realloc: &'static str,
    validate: &'static str,
    configure: &'static str,
    on_request: &'static str,
    /// After the answer was read.
    post: &'static str,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            extra: "",
            memory: "1",
            realloc: "(i32.const 4096)",
            validate: "(i32.const 512)",
            configure: "(i32.const 256)",
            on_request: "(i32.const 1024)",
            post: "",
        }
    }
}

impl Core {
    fn component(&self) -> Vec<u8> {
        let Self { extra, memory, realloc, validate, configure, on_request, post } = self;
        let text = format!(
            r#"(module {extra}
            (memory (export "memory") {memory})
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (func (export "tamis:filter/lifecycle@0.2.0#config-schema") (result i32) (i32.const 512))
            (func (export "tamis:filter/lifecycle@0.2.0#validate") (param i32 i32) (result i32)
                {validate})
            (func (export "tamis:filter/lifecycle@0.2.0#configure") (param i32 i32) (result i32)
                {configure})
            (func (export "tamis:filter/request@0.2.0#on-request")
                (param i64 i32 i32 i32 i32 i32 i32) (result i32) {on_request})
            (func (export "cabi_post_tamis:filter/request@0.2.0#on-request") (param i32) {post})
            )"#
        );
        let mut module = wat::parse_str(text).unwrap();
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        resolve.push_dir(wit).unwrap();
        resolve.push_str("io.wit", IO).unwrap();
        resolve.push_str("cli.wit", CLI).unwrap();
        let package = resolve.push_str("world.wit", WORLD).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        let encoder = ComponentEncoder::default().module(&module).unwrap();
        encoder.validate(true).encode().unwrap()
    }

    fn made(&self) -> Result<tamis_engine::Filter, EngineError> {
        let mut given = given();
        given.grant.limits.configure_us = 100_000;
        let compiled = engine().compile(&self.component(), None)?;
        given.filter(&compiled, "{}")
    }
}

#[test]
fn what_passes_everything_in_a_hundred_octets_serves() {
    let filter = Core::default().made().unwrap();
    let mut instance = filter.instantiate().unwrap();
    instance.on_request(&view(filter.reads(), 1, "/a")).unwrap();
}

#[test]
fn a_lie_to_the_host_costs_the_one_who_tells_it() {
    for (what, core) in [
        (
            "a start that never ends",
            Core { extra: "(func $s (loop br 0)) (start $s)", ..Core::default() },
        ),
        (
            "a start that fails, in a function of an odd name",
            Core {
                extra: "(func $\"\\1b[2J\\1b]0;owned\\07\" unreachable) (start 0)",
                ..Core::default()
            },
        ),
        ("more memory than granted", Core { memory: "1000 1000", ..Core::default() }),
        (
            "a table without end",
            Core {
                extra: "(table 1 funcref) (func $s (drop (table.grow (ref.null func) (i32.const 0x7fffffff))) \
                        (loop (drop (table.grow (ref.null func) (i32.const 1000))) br 0)) (start $s)",
                ..Core::default()
            },
        ),
        ("room that is not there", Core { realloc: "(i32.const -8)", ..Core::default() }),
        ("room that is not aligned", Core { realloc: "(i32.const 4097)", ..Core::default() }),
        ("no room", Core { realloc: "unreachable", ..Core::default() }),
        (
            "room after an endless search",
            Core { realloc: "(loop br 0) unreachable", ..Core::default() },
        ),
        ("an answer beyond the memory", Core { configure: "(i32.const -16)", ..Core::default() }),
        ("an answer that is not aligned", Core { configure: "(i32.const 257)", ..Core::default() }),
        (
            "a case that there is none of",
            Core {
                configure: "(i32.store8 (i32.const 256) (i32.const 7)) (i32.const 256)",
                ..Core::default()
            },
        ),
        (
            "a list longer than the memory",
            Core {
                configure: "(i32.store (i32.const 260) (i32.const 4096)) (i32.store (i32.const 264) (i32.const 0x7fffffff)) (i32.const 256)",
                ..Core::default()
            },
        ),
        (
            "a list whose size overflows",
            Core {
                configure: "(i32.store (i32.const 260) (i32.const 4096)) (i32.store (i32.const 264) (i32.const -1)) (i32.const 256)",
                ..Core::default()
            },
        ),
        (
            "a list of as many names as fit",
            Core {
                configure: "(i32.store (i32.const 260) (i32.const 1024)) (i32.store (i32.const 264) (i32.const 8000)) (i32.const 256)",
                ..Core::default()
            },
        ),
        (
            "an answer that fails when it is given back",
            Core { post: "unreachable", ..Core::default() },
        ),
        ("an answer that is never given back", Core { post: "(loop br 0)", ..Core::default() }),
        ("a hook that answers nothing", Core { on_request: "unreachable", ..Core::default() }),
    ] {
        let said = core.made().map(drop).unwrap_err().to_string();
        assert!(said.len() < 8_192, "{what}: {} octets", said.len());
        assert!(!said.chars().any(|one| one.is_control() && one != '\n'), "{what}: {said:?}");
    }
}

#[test]
fn the_text_of_a_refused_component_is_short_and_plain() {
    for name in ["wasi:\u{1b}[2J/a", "tamis:filter/\u{1b}[2J@0.1.0", &"x".repeat(50_000)] {
        let text = format!(
            r#"(component (import "{}" (instance)))"#,
            name.chars().map(|one| format!("\\u{{{:x}}}", u32::from(one))).collect::<String>()
        );
        // The text format may refuse it by itself.
        let Ok(octets) = wat::parse_str(&text) else { continue };
        let said = tamis_engine::inspect(&octets).unwrap_err().to_string();
        assert!(said.len() < 2_048 && !said.chars().any(char::is_control), "{said:?}");
    }
}

#[test]
fn a_fault_of_the_abi_in_a_hook_is_a_fault_of_that_call() {
    // Exchange 0 is the self-test's, so the core looks at its number.
    let on_request =
        "(if (result i32) (i64.eqz (local.get 0)) (then (i32.const 1024)) (else (i32.const -4)))";
    let filter = Core { on_request, ..Core::default() }.made().unwrap();
    let mut instance = filter.instantiate().unwrap();
    let fault = instance.on_request(&view(filter.reads(), 1, "/a")).unwrap_err();
    assert!(matches!(fault, CallFault::BadAnswer(_)), "{fault}");
}

#[test]
fn output_reaches_the_report_and_what_was_lent_for_it_is_given_back() {
    // What languages do to write: each call lends the host a handle, and a poll lends it a list of them.
    const IMPORTS: &str = r#"
        (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $room (param i32 i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $flush (param i32 i32 i32 i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.subscribe" (func $subscribe (param i32) (result i32)))
        (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
        (data (i32.const 2048) "no tenant at main.c:7")
        (global $out (mut i32) (i32.const 0))
        "#;
    const OPEN: &str = "(global.set $out (call $stderr))";
    const WRITE: &str =
        "(call $write (global.get $out) (i32.const 2048) (i32.const 21) (i32.const 3000))";
    const FLUSH: &str =
        "(call $flush (global.get $out) (i32.const 2048) (i32.const 21) (i32.const 3000))";
    const ROOM: &str = "(call $room (global.get $out) (i32.const 3000))";
    const POLL: &str = "(i32.store (i32.const 3100) (call $subscribe (global.get $out)))
        (call $poll (i32.const 3100) (i32.const 1) (i32.const 3000))";
    for (what, steps) in [
        ("a write", vec![OPEN, WRITE]),
        ("a write and a flush", vec![OPEN, FLUSH]),
        ("two writes", vec![OPEN, ROOM, WRITE, ROOM, FLUSH]),
        ("a write after a wait", vec![OPEN, POLL, WRITE]),
    ] {
        let passes = format!("{} (i32.const 1024)", steps.concat());
        let fails = format!("{} unreachable", steps.concat());
        let core = |on_request: String| Core {
            extra: IMPORTS,
            on_request: String::leak(on_request),
            ..Core::default()
        };
        // The self-test makes the same calls.
        let filter = core(passes).made().unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut instance = filter.instantiate().unwrap();
        for id in 1..=3 {
            let done = instance.on_request(&view(filter.reads(), id, "/a"));
            assert!(done.is_ok(), "{what}: {done:?}");
        }
        match core(fails).made() {
            Err(EngineError::SelfTest { fault: CallFault::Trap(said), .. }) => {
                assert!(said.contains("no tenant at main.c:7"), "{what}: {said}");
            }
            other => panic!("{what}: {other:?}", other = other.err()),
        }
        // An empty list of errors, as JavaScript makes of an exception that nobody catches.
        let refuses = format!(
            "{} (i32.store8 (i32.const 700) (i32.const 1)) (i32.const 700)",
            steps.concat()
        );
        let refuses = String::leak(refuses);
        for (act, core) in [
            ("validate", Core { extra: IMPORTS, validate: refuses, ..Core::default() }),
            ("configure", Core { extra: IMPORTS, configure: refuses, ..Core::default() }),
        ] {
            let said = core.made().err().unwrap().to_string();
            assert!(said.contains("no tenant at main.c:7") && said.contains(act), "{what}: {said}");
        }
    }
}
