//! JSON bodies, taken strictly.

use serde::de::DeserializeOwned;

use super::error::ApiError;

/// Parses a body that must be one JSON object with known, single keys and nothing after it. An empty body
/// is an empty object.
///
/// # Errors
/// 400 that says what is wrong.
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    let text = if text.trim().is_empty() { "{}" } else { text };
    // serde would take an array for a struct's fields in order.
    if !text.trim_start().starts_with('{') {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| ApiError::bad_request(format!("the body is wrong: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        a: i32,
    }

    #[test]
    fn only_an_object_of_known_single_keys_is_taken() {
        for body in ["", " ", "{}", "{\"a\":0}"] {
            assert_eq!(parse_object::<Body>(body.as_bytes()).unwrap().a, 0, "{body}");
        }
        for body in [
            "[1]",
            "1",
            "null",
            "{\"a\":1,\"a\":2}",
            "{\"b\":1}",
            "{\"a\":\"1\"}",
            "{\"a\":1} x",
            "{",
            "{\"a\":1}{}",
        ] {
            assert_eq!(parse_object::<Body>(body.as_bytes()).unwrap_err().status, 400, "{body}");
        }
        assert_eq!(parse_object::<Body>(b"\xff").unwrap_err().status, 400);
    }
}
