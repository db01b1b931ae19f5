//! How curl takes its configuration, which it gets on a pipe so that no secret stands in its arguments.

/// A string as curl's configuration takes it.
pub fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{}\"", escaped.replace('\t', "\\t"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn what_means_something_to_curl_is_escaped() {
        assert_eq!(quote("a\"b\\c\nd\te\r"), r#""a\"b\\c\nd\te\r""#);
    }
}
