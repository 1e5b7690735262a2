//! Parses a configuration into checked settings, with errors that name the place.

use serde::de::DeserializeOwned;

use crate::lifecycle::ConfigError;

/// Parses configurations.
pub struct Config;

impl Config {
    /// Parses JSON into settings.
    ///
    /// # Errors
    /// One error with the JSON pointer (RFC 6901) of the wrong value, or of the unknown field.
    pub fn parse<Settings: DeserializeOwned>(text: &str) -> Result<Settings, Vec<ConfigError>> {
        serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            // The pointer names the place; serde's "at line 1 column 9" refers to a text that nobody wrote
            // by hand.
            let (message, _) = message.rsplit_once(" at line ").unwrap_or((&message, ""));
            let place = pointer_at(text, error.line(), error.column());
            vec![ConfigError::at(place, message)]
        })
    }
}

impl ConfigError {
    /// An error at a JSON pointer; the empty pointer is the whole configuration.
    #[must_use]
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// One step of a JSON pointer, with special characters escaped.
#[must_use]
pub fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Pointer of the innermost value that is open, or was just read, where serde_json stopped.
///
/// serde_json reports a wrong value right after it, an unknown field right after its name, and a missing
/// field right after the object that lacks it, so the path of the text read so far is the path of the
/// mistake.
fn pointer_at(text: &str, line: usize, column: usize) -> String {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let read = text.as_bytes().get(..start.saturating_add(column)).unwrap_or(text.as_bytes());
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(byte) = read.get(at) {
        at += 1;
        match byte {
            b'{' => open.push(Open::Object(None)),
            b'[' => open.push(Open::Array(0)),
            b'}' | b']' => drop(open.pop()),
            b',' => match open.last_mut() {
                Some(Open::Object(key)) => *key = None,
                Some(Open::Array(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let end = string_end(read, at);
                if let Some(Open::Object(key @ None)) = open.last_mut() {
                    let quoted = read.get(at - 1..end).unwrap_or_default();
                    *key = Some(serde_json::from_slice(quoted).unwrap_or_default());
                }
                at = end;
            }
            _ => {}
        }
    }
    open.iter().filter_map(Open::step).fold(String::new(), |path, next| path + "/" + &next)
}

/// An object or array that is open, and the current place in it.
enum Open {
    Object(Option<String>),
    Array(usize),
}

impl Open {
    fn step(&self) -> Option<String> {
        match self {
            Self::Object(key) => key.as_deref().map(step),
            Self::Array(index) => Some(index.to_string()),
        }
    }
}

/// Index after the closing quote of the string whose content begins at `at`.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GatewayDuration;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "list")]
        _list: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "count")]
        _count: u32,
        #[serde(rename = "wait", default)]
        _wait: Option<GatewayDuration>,
    }

    fn refused(text: &str) -> (String, String) {
        let error = Config::parse::<Outer>(text).unwrap_err().remove(0);
        (error.pointer, error.message)
    }

    #[test]
    fn an_error_names_its_place() {
        for (text, pointer) in [
            (r#"{"list":[{"count":1},{"count":"x"}]}"#, "/list/1/count"),
            (r#"{"list":[{"count":1, "a/b" : 2}]}"#, "/list/0/a~1b"),
            (r#"{"list":[{"count":1},{}]}"#, "/list/1"),
            ("{\"list\":[\n {\"count\":1,\n  \"wait\":\"soon\"}]}", "/list/0/wait"),
            (r#"{}"#, ""),
            (r#"{"list":3}"#, "/list"),
        ] {
            assert_eq!(refused(text).0, pointer, "{text}: {}", refused(text).1);
        }
    }

    #[test]
    fn a_message_says_what_and_not_which_line() {
        let (_, message) = refused(r#"{"list":[{"count":1,"cuont":2}]}"#);
        assert_eq!(message, "unknown field `cuont`, expected `count` or `wait`");
    }
}
