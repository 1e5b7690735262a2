//! Components that no compiler writes: the canonical ABI, lied to.

use crate::guests::{engine, given, view};
use std::path::Path;
use tamis_engine::{CallFault, EngineError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The core of an authorizer that passes everything, and what a row has otherwise.
struct Core {
    /// Before the memory: a start function, a table.
    extra: &'static str,
    memory: &'static str,
    realloc: &'static str,
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
            configure: "(i32.const 256)",
            on_request: "(i32.const 1024)",
            post: "",
        }
    }
}

impl Core {
    fn component(&self) -> Vec<u8> {
        let Self { extra, memory, realloc, configure, on_request, post } = self;
        let text = format!(
            r#"(module {extra}
            (memory (export "memory") {memory})
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (func (export "tamis:filter/lifecycle@0.2.0#config-schema") (result i32) (i32.const 512))
            (func (export "tamis:filter/lifecycle@0.2.0#validate") (param i32 i32) (result i32)
                (i32.const 512))
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
        let (package, _) = resolve.push_dir(wit).unwrap();
        let world = resolve.select_world(&[package], Some("authorizer")).unwrap();
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
    assert!(matches!(fault, CallFault::Lift(_)), "{fault}");
}
