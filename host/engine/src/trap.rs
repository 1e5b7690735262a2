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
        None => CallFault::BadAnswer(printable(&error.root_cause().to_string(), 512)),
    }
}

/// What the filter did, after its name. A panic logs its message and place as an error, which is all that its author needs;
/// else which trap it was, where, and the last error line.
fn trap_text(trap: &Trap, error: &wasmtime::Error, host: &Host) -> String {
    let words = host.last_words.as_deref();
    if let Some(panic) = words.filter(|words| words.starts_with("panicked at ")) {
        return panic.to_owned();
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
        Some(words) => text.push_str(&format!("; its last error line: {words}")),
        None if *trap == Trap::UnreachableCodeReached => {
            text.push_str("; a panic does that: log an error before it, to see where");
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
