//! Strict parsing of JSON bodies. Errors name the field and what it must be.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::gate::ApiError;

/// The fields of a body.
#[derive(Debug)]
pub struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Parses a body, which must be one JSON object without duplicate fields. An empty body is an empty object.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
        let text = if text.trim().is_empty() { "{}" } else { text };
        if !text.trim_start().starts_with('{') {
            serde_json::from_str::<IgnoredAny>(text).map_err(|error| no_json(&error))?;
            return Err(ApiError::bad_request("the body must be a JSON object"));
        }
        let Pairs(pairs) = serde_json::from_str(text).map_err(|error| no_json(&error))?;
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            if fields.contains_key(&name) {
                return Err(ApiError::bad_request(format!("{name} is given twice")));
            }
            fields.insert(name, value);
        }
        Ok(Self(fields))
    }

    /// As [`Fields::parse`], with these fields allowed only.
    ///
    /// # Errors
    /// 400, with what is wrong.
    pub fn of(body: &[u8], known: &[&str]) -> Result<Self, ApiError> {
        let fields = Self::parse(body)?;
        match fields.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(fields),
            Some(name) if known.is_empty() => Err(ApiError::bad_request(format!(
                "\"{name}\" is not a field of this body, which has no fields"
            ))),
            Some(name) => {
                let known = known.join(", ");
                Err(ApiError::bad_request(format!(
                    "\"{name}\" is not a field of this body; its fields are {known}"
                )))
            }
        }
    }

    /// Takes the value of a field.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Takes the text of a field. `null` is an error: it may have been meant to be something.
    ///
    /// # Errors
    /// 400 when it is not a string.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be a string"))),
        }
    }

    /// Takes a boolean field; false when it is missing.
    ///
    /// # Errors
    /// 400 when it is neither true nor false.
    pub fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(ApiError::bad_request(format!("{name} must be true or false"))),
        }
    }
}

impl IntoIterator for Fields {
    type Item = (String, Value);
    type IntoIter = std::collections::btree_map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Whether a body is JSON of any kind.
pub fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

fn no_json(error: &serde_json::Error) -> ApiError {
    match error.is_eof() {
        true => ApiError::bad_request("the body is not JSON: it ends too early"),
        false => {
            let (line, column) = (error.line(), error.column());
            ApiError::bad_request(format!("the body is not JSON: see line {line}, column {column}"))
        }
    }
}

/// Names and values in order, with duplicates, of which a map would keep the last only.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Body, Response};

    fn refusal(body: &[u8]) -> String {
        let error = Fields::of(body, &["a", "b"]).and_then(|mut fields| {
            fields.text("a")?;
            fields.flag("b")
        });
        let response = Response::from(error.unwrap_err());
        let (400, Body::Bytes(bytes)) = (response.status, response.body) else { panic!("no 400") };
        serde_json::from_slice::<Value>(&bytes).unwrap()["error"].as_str().unwrap().to_owned()
    }

    #[test]
    fn only_an_object_of_known_single_fields_is_taken() {
        for body in ["", " ", "{}", "{\"a\":\"x\"}", " {\"b\":true,\"a\":\"\"}\r\n"] {
            Fields::of(body.as_bytes(), &["a", "b"]).unwrap();
        }
        for (body, said) in [
            ("[1]", "the body must be a JSON object"),
            ("1", "the body must be a JSON object"),
            ("null", "the body must be a JSON object"),
            ("a=b", "the body is not JSON: see line 1, column 1"),
            ("{", "the body is not JSON: it ends too early"),
            ("{\"a\":\n \"x\n", "the body is not JSON: see line 3, column 0"),
            ("{\"a\":\"1\"} x", "the body is not JSON: see line 1, column 11"),
            ("{\"a\":\"1\"}{}", "the body is not JSON: see line 1, column 10"),
            ("{a:1}", "the body is not JSON: see line 1, column 2"),
            ("{\"a\":\"1\",\"a\":\"2\"}", "a is given twice"),
            ("{\"c\":1}", "\"c\" is not a field of this body; its fields are a, b"),
            ("{\"a\":1}", "a must be a string"),
            ("{\"a\":null}", "a must be a string"),
            ("{\"b\":\"true\"}", "b must be true or false"),
            ("{\"b\":null}", "b must be true or false"),
        ] {
            assert_eq!(refusal(body.as_bytes()), said, "{body}");
        }
        assert_eq!(refusal(b"\xff"), "the body is not UTF-8");
        assert!(refusal(&b"{\"a\":".repeat(1000)).starts_with("the body is not JSON: see line 1"));
        assert_eq!(Fields::of(b"{\"a\":1}", &[]).unwrap_err().status, 400);
    }

    #[test]
    fn json_of_any_kind_is_told_from_what_is_none() {
        for body in ["", " ", "a=b", "{", "{\"databases\":[\"a\"]", "\u{feff}{}"] {
            assert!(!is_json(body.as_bytes()), "{body}");
        }
        assert!(!is_json(b"\xff\xfe"));
        for body in ["{}", " []", "1", "null", "\"x\"", "{\"databases\":[]}"] {
            assert!(is_json(body.as_bytes()), "{body}");
        }
    }
}
