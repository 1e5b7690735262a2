//! One encoding for each JSON value, so that equal configurations have equal digests.

use serde_json::{Number, Value};

use crate::Digest;

/// The digest of a configuration: SHA-256 of its canonical JSON.
///
/// Canonical means RFC 8785: no white space, members in the order of their UTF-16 code units, numbers as
/// ECMAScript writes them. With one difference: an integer keeps all its digits (RFC 8785 §3.2.2.3 would
/// round beyond 2^53), since two different configurations must never have the same digest.
///
/// ```
/// use serde_json::json;
/// use tamis_trust::config_digest;
///
/// assert_eq!(config_digest(&json!({"a": 1, "b": 2})), config_digest(&json!({"b": 2, "a": 1.0})));
/// assert_ne!(config_digest(&json!({"a": 1})), config_digest(&json!({"a": "1"})));
/// ```
#[must_use]
pub fn config_digest(config: &Value) -> Digest {
    Digest::of(canonical(config).as_bytes())
}

fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        // `Display` of a string escapes exactly what RFC 8785 §3.2.2.2 requires.
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Number(number) => out.push_str(&written(number)),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(at, out);
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            out.push('{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                separate(at, out);
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn separate(at: usize, out: &mut String) {
    if at > 0 {
        out.push(',');
    }
}

fn written(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => ecmascript(float),
        _ => number.to_string(),
    }
}

/// ECMA-262 §6.1.6.1.20 (`Number::toString`), which RFC 8785 §3.2.2.3 points to.
fn ecmascript(float: f64) -> String {
    // Minus zero is written as zero.
    if float == 0.0 {
        return "0".to_owned();
    }
    // `{:e}` has the shortest digits that read back as the same number: `-1.25e-7`.
    let shortest = format!("{:e}", float.abs());
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = digits.replace('.', "");
    let point = exponent.parse::<i32>().unwrap_or_default().saturating_add(1);
    let sign = if float < 0.0 { "-" } else { "" };
    let count = digits.len();
    let zeros = |count: u32| "0".repeat(count as usize);
    let text = match usize::try_from(point) {
        Ok(whole @ 1..=21) if whole >= count => {
            format!("{digits}{}", "0".repeat(whole.saturating_sub(count)))
        }
        Ok(whole @ 1..=21) => {
            let (before, after) = digits.split_at(whole);
            format!("{before}.{after}")
        }
        _ if (-5..=0).contains(&point) => format!("0.{}{digits}", zeros(point.unsigned_abs())),
        _ => {
            let power = point.saturating_sub(1);
            let plus = if power > 0 { "+" } else { "" };
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{first}{dot}{rest}e{plus}{power}")
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_by_utf_16_and_nothing_is_added() {
        // The example of RFC 8785 §3.2.3: U+FB33 sorts after the surrogates of U+1F600.
        let value =
            json!({ "\u{fb33}": 1, "\u{1f600}": [2, { "z": null, "a": true }], "\r": "\u{7}\"é" });
        assert_eq!(
            canonical(&value),
            "{\"\\r\":\"\\u0007\\\"é\",\"\u{1f600}\":[2,{\"a\":true,\"z\":null}],\"\u{fb33}\":1}"
        );
        assert_eq!(canonical(&json!({})), "{}");
    }

    #[test]
    fn numbers_are_written_as_ecmascript_writes_them() {
        // Rows of RFC 8785 appendix B.
        for (bits, text) in [
            (0x8000_0000_0000_0000_u64, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
        ] {
            let number = Number::from_f64(f64::from_bits(bits)).unwrap();
            assert_eq!(written(&number), text);
        }
        assert_eq!(canonical(&json!(u64::MAX)), "18446744073709551615");
        assert_eq!(canonical(&json!([-1.5, -0.000_012])), "[-1.5,-0.000012]");
    }

    proptest! {
        #[test]
        fn a_number_reads_back_as_itself(bits in any::<u64>()) {
            let float = f64::from_bits(bits);
            if let Some(number) = Number::from_f64(float) {
                prop_assert_eq!(written(&number).parse::<f64>().unwrap(), float);
            }
        }

        #[test]
        fn the_order_of_members_does_not_matter(names in prop::collection::btree_set(".{0,6}", 0..8)) {
            let forth: Value = names.iter().map(|name| (name.clone(), json!(1))).collect();
            let back: Value = names.iter().rev().map(|name| (name.clone(), json!(1))).collect();
            prop_assert_eq!(config_digest(&forth), config_digest(&back));
        }
    }
}
