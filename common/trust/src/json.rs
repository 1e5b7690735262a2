//! JSON from untrusted sources: one value, no duplicate members, limited depth and size, no trailing bytes.
//!
//! Two readers that choose differently between two equal members can be made to check one statement and act
//! on another; so a second member of the same name is an error, however it is escaped.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use crate::TrustError;

const MAX_DEPTH: usize = 16;

/// Reads one document of type `T`.
pub(crate) fn read<T: DeserializeOwned>(
    place: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, TrustError> {
    if bytes.len() > limit {
        return Err(TrustError::TooLarge { place, actual: bytes.len(), limit });
    }
    let value = strict(bytes).map_err(|error| broken(place, &error))?;
    serde_json::from_value(value).map_err(|error| broken(place, &error))
}

fn broken(place: &'static str, error: &serde_json::Error) -> TrustError {
    // Messages quote foreign text; keep them on one line.
    let message = error.to_string();
    let reason = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    TrustError::Json { place, reason: reason.take(200).collect() }
}

fn strict(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = StrictValue { depth: MAX_DEPTH }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct StrictValue {
    /// How many more levels may open.
    depth: usize,
}

impl StrictValue {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format_args!("nested more than {MAX_DEPTH} deep"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate member {name:?}")));
            }
            map.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(text: &str) -> bool {
        read::<Value>("test", text.as_bytes(), 1000).is_err()
    }

    #[test]
    fn duplicate_members_are_refused_however_escaped() {
        assert!(!refuses(r#"{"a":1,"b":{"a":2}}"#));
        assert!(refuses(r#"{"a":1,"a":1}"#));
        assert!(refuses(r#"{"a":1,"\u0061":1}"#));
        assert!(refuses(r#"[{"x":{"a":1,"b":2,"a":3}}]"#));
    }

    #[test]
    fn depth_size_and_trailing_bytes_are_limited() {
        assert!(!refuses(&format!("{}{}", "[".repeat(16), "]".repeat(16))));
        assert!(refuses(&format!("{}{}", "[".repeat(17), "]".repeat(17))));
        assert!(refuses(&" ".repeat(1001)));
        assert!(refuses("{} {}"));
        assert!(refuses(""));
    }
}
