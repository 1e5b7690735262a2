//! Describes the error of a call in terms that a filter's author can use.

use crate::error::{printable, short};
use crate::{CallFault, Host};
use wasmtime::{Trap, WasmBacktrace};

/// The kind of fault behind an error of a call.
pub(crate) fn classify(error: &wasmtime::Error, host: &Host, limit_us: u64) -> CallFault {
    let memory = CallFault::Memory { limit_bytes: host.limiter.limit_bytes };
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => CallFault::Deadline { limit_us },
        Some(Trap::StackOverflow) => CallFault::Stack,
        Some(_) if host.limiter.refused => memory,
        Some(trap) => CallFault::Trap(trap_text(trap, error, host)),
        None if host.limiter.refused => memory,
        None => {
            let said = error.root_cause().to_string();
            CallFault::BadAnswer(printable(&called_in_validate(&said).unwrap_or(said), 512))
        }
    }
}

/// What the standard library of Rust says where a component asks it for the time.
const NO_CLOCK: &str = "time not implemented on this platform";
/// What its author does instead.
const CLOCK: &str = "; the clock of the language does not work in a filter: call `unix-ms` or `monotonic-us` of the import `clock` (in Rust `tamis_sdk::clock`), and add `clock: {}` under `imports` of its Grant";
/// How the place of a panic that said nothing is found.
const PANIC: &str = "; a panic ends like that: to see its message and line, call `tamis_sdk::log_panics()` first in `configure` (Rust), or log an error before the place that you suspect; both need `log: {}` under `imports` of its Grant";

/// What a call of an import in `validate` is, in words of the contract: the linker takes the import for an unknown one.
fn called_in_validate(said: &str) -> Option<String> {
    let import = said.strip_prefix("unknown import: `")?.strip_suffix("` has not been defined")?;
    let (interface, function) = import.rsplit_once('#')?;
    let interface = interface.rsplit_once('/').map_or(interface, |(_, name)| name);
    let interface = interface.split('@').next().unwrap_or(interface);
    Some(format!(
        "it called `{interface}.{function}`, and `validate` may call no import: call it in `configure`"
    ))
}

/// What the filter did, after its name. A panic logs its message and place as an error, which is all that its author needs;
/// else which trap it was, where, and the last error line.
fn trap_text(trap: &Trap, error: &wasmtime::Error, host: &Host) -> String {
    let words = host.last_words.as_deref();
    if let Some(panic) = words.filter(|words| words.starts_with("panicked at ")) {
        let way_out = if panic.contains(NO_CLOCK) { CLOCK } else { "" };
        return format!("{panic}{way_out}");
    }
    let said = trap.to_string();
    let name = match trap {
        Trap::UnreachableCodeReached => "unreachable",
        _ => said.strip_prefix("wasm trap: ").unwrap_or(&said),
    };
    let mut text = format!("stopped with the trap `{name}`");
    if let Some(function) = error.downcast_ref::<WasmBacktrace>().and_then(function) {
        text.push_str(&format!(" in `{function}`"));
    }
    match words {
        // Line breaks are escaped in it.
        Some(words) if words.contains("\\n") => text.push_str(&format!("; it wrote: {words}")),
        Some(words) => text.push_str(&format!("; its last error line: {words}")),
        None if *trap == Trap::UnreachableCodeReached => {
            text.push_str(PANIC);
        }
        None => {}
    }
    text
}

/// The innermost function that is not part of the language's own panic handling.
fn function(backtrace: &WasmBacktrace) -> Option<String> {
    const ENDINGS: [&str; 6] = ["panic", "abort", "unwind", "unreachable", "alloc_error", "expect"];
    let names = || backtrace.frames().iter().filter_map(|frame| frame.func_name());
    let own = |name: &&str| !ENDINGS.iter().any(|ending| name.contains(ending));
    let name = names().find(own).or_else(|| names().next())?;
    Some(short(&readable(short(name, 512)), 160).escape_debug().to_string())
}

/// `path::to::function` of a Rust symbol (the older mangling); any other name unchanged.
fn readable(symbol: &str) -> String {
    let inner = symbol.strip_prefix("_ZN").and_then(|rest| rest.strip_suffix('E'));
    let Some(mut rest) = inner else { return symbol.to_owned() };
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let length = rest.get(..digits).and_then(|digits| digits.parse::<usize>().ok());
        let part = length.and_then(|length| {
            let end = digits.checked_add(length)?;
            Some((rest.get(digits..end)?, rest.get(end..)?))
        });
        let Some((part, after)) = part else { return symbol.to_owned() };
        parts.push(part);
        rest = after;
    }
    // The last part is a hash.
    parts.pop();
    parts.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_in_validate_is_named_as_its_author_calls_it() {
        let said = "unknown import: `tamis:filter/log@0.2.0#write` has not been defined";
        let told = called_in_validate(said).unwrap();
        assert!(told.starts_with("it called `log.write`, and `validate` may call"), "{told}");
        assert_eq!(called_in_validate("something else"), None);
    }

    #[test]
    fn a_symbol_is_read_as_its_author_wrote_it() {
        for (symbol, name) in [
            ("_ZN6agents5judge17h0123456789abcdefE", "agents::judge"),
            ("on_request", "on_request"),
            ("_ZN99999999999999999999aE", "_ZN99999999999999999999aE"),
            ("_ZN5abE", "_ZN5abE"),
            ("_ZNE", ""),
        ] {
            assert_eq!(readable(symbol), name);
        }
    }
}
