//! JSON objects in which no member name is repeated, at any depth.
//!
//! If two readers disagree on which of two equal names counts, they see two different tokens (RFC 7515 §4
//! and RFC 7519 §4 leave the choice open), so a token with such a header or payload is refused.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads bytes that are exactly one JSON object without repeated member names.
///
/// # Errors
/// The bytes are not UTF-8, not JSON, not an object, followed by more, or repeat a name.
pub fn unique_object(octets: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = UniqueMembers.deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Error::custom("not a JSON object"))
        }
    }
}

struct UniqueMembers;

impl<'de> DeserializeSeed<'de> for UniqueMembers {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueMembers {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated member names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self)?;
            if values.insert(name, value).is_some() {
                return Err(Error::custom("a member name appears twice"));
            }
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_whole() {
        let read = unique_object(br#"{"a":[1,-2,1.5,null,true],"b":{"a":"x"}}"#).unwrap();
        assert_eq!(read["b"]["a"], "x");
        assert_eq!(read["a"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn a_repeated_name_is_refused_at_every_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":{"a":1,"\u0061":2}}"#, r#"{"x":[{"a":1,"a":2}]}"#]
        {
            assert!(unique_object(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in
            ["", "1", "[]", "null", "{} {}", "{}x", "{\"a\":1e999}", "{'a':1}", "\u{feff}{}"]
        {
            assert!(unique_object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(unique_object(b"{\"a\":\"\xff\"}").is_err());
        assert!(unique_object("[".repeat(100_000).as_bytes()).is_err());
    }
}
