//! One encoding for each JSON value: no white space, the keys of every object sorted by their UTF-8 bytes,
//! strings and numbers as `serde_json` writes them.

use serde_json::Value;

/// Deeper values are refused: parsing them again would fail too.
const MAX_DEPTH: usize = 64;

/// The canonical text, or the rule that the value breaks and the way out.
///
/// A value that its text does not reproduce (some fractions lose their last bit) is refused: its hash would
/// no longer match after reading.
pub(crate) fn text(value: &Value) -> Result<String, &'static str> {
    let mut text = String::new();
    write(value, MAX_DEPTH, &mut text)?;
    match serde_json::from_str::<Value>(&text) {
        Ok(back) if back == *value => Ok(text),
        _ => Err("has a number that JSON text cannot hold exactly; write it as a string"),
    }
}

/// The value of a canonical text; `None` for any other encoding.
pub(crate) fn parse(text_given: &str) -> Option<Value> {
    let value = serde_json::from_str(text_given).ok()?;
    (text(&value).ok()? == text_given).then_some(value)
}

fn write(value: &Value, depth: usize, out: &mut String) -> Result<(), &'static str> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err("is nested more than 64 deep; make it flatter");
    };
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, depth, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(member, depth, out)?;
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_is_spaced() {
        let value = json!({ "b": [{ "z": 1, "a": null }], "a": "ü\n" });
        assert_eq!(text(&value).unwrap(), r#"{"a":"ü\n","b":[{"a":null,"z":1}]}"#);
    }

    #[test]
    fn another_spelling_of_the_same_value_is_not_canonical() {
        for other in ["{ }", r#"{"b":1,"a":2}"#, r#""\u0061""#, "1.50", r#"{"a":1,"a":1}"#] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_value_too_deep_is_refused() {
        let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
        assert!(text(&deep).unwrap_err().contains("64"));
    }

    proptest! {
        #[test]
        fn what_has_a_canonical_text_comes_back_from_it(number in any::<f64>(), integer in any::<i64>(), string in any::<String>()) {
            let value = json!({ "number": number, "integer": integer, "string": string });
            if let Ok(text) = text(&value) {
                prop_assert_eq!(parse(&text), Some(value));
            }
        }
    }
}
