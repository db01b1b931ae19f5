//! Quotes names and values for SQL.

/// An identifier in double quotes.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal, valid for either value of `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!(" E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// A string literal without line ends, valid for either value of `standard_conforming_strings`.
pub fn one_line_literal(text: &str) -> String {
    match text.contains(['\n', '\r']) {
        true => {
            let escaped = text.replace('\'', "''").replace('\\', "\\\\");
            format!(" E'{}'", escaped.replace('\n', "\\n").replace('\r', "\\r"))
        }
        false => literal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_inside() {
        assert_eq!(identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
        assert_eq!(one_line_literal("a'\n\\b"), r" E'a''\n\\b'");
        assert_eq!(one_line_literal("a'b"), "'a''b'");
    }
}
