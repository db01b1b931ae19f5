//! Splits a statement into tokens.

use std::ops::Range;

use super::words::is_of_word;

/// A token of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its kind.
    pub kind: Kind,
    /// Its position in bytes.
    pub at: Range<usize>,
}

/// The kind of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or unquoted name, in lower case.
    Word(String),
    /// A name in double quotes, without the quotes.
    Name(String),
    /// Any other character. A string in single quotes is one such token, its quote.
    Sign(u8),
}

impl Token {
    /// Whether it is this keyword, given in lower case.
    pub fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(text) if text == word)
    }

    /// Whether it is this sign.
    pub fn is_sign(&self, sign: u8) -> bool {
        self.kind == Kind::Sign(sign)
    }

    /// The name, if it can be one.
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(name) | Kind::Name(name) => Some(name),
            Kind::Sign(_) => None,
        }
    }
}

/// The tokens of a statement or its start. The contents of strings in single quotes are left out; those in dollar
/// quotes are not.
pub fn tokens(text: &[u8]) -> Vec<Token> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let rest = &text[at..];
        let (length, kind) = match rest[0] {
            b' ' | b'\t' | b'\n' | b'\r' => (1, None),
            b'"' => {
                let (length, name) = quoted(rest);
                (length, Some(Kind::Name(name)))
            }
            b'\'' => (string(rest), Some(Kind::Sign(b'\''))),
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                let length = rest.iter().take_while(|byte| is_of_word(**byte)).count();
                let word = String::from_utf8_lossy(&rest[..length]).to_ascii_lowercase();
                (length, Some(Kind::Word(word)))
            }
            byte => (1, Some(Kind::Sign(byte))),
        };
        tokens.extend(kind.map(|kind| Token { kind, at: at..at + length }));
        at += length;
    }
    tokens
}

/// Parses a name in double quotes at the start of `text`. Returns its length and the name.
fn quoted(text: &[u8]) -> (usize, String) {
    let (mut name, mut at) = (Vec::new(), 1);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            (b'"', Some(b'"')) => {
                name.push(b'"');
                at += 2;
            }
            (b'"', _) => return (at + 1, String::from_utf8_lossy(&name).into_owned()),
            (byte, _) => {
                name.push(byte);
                at += 1;
            }
        }
    }
    (text.len(), String::from_utf8_lossy(&name).into_owned())
}

/// The length of a string in single quotes at the start of `text`. Escapes are ignored; after `\'` the rest is taken
/// for words, which adds tokens but loses none.
fn string(text: &[u8]) -> usize {
    let end = text[1..].iter().position(|byte| *byte == b'\'');
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_names_and_signs_are_told_apart_and_strings_left_out() {
        let text = br#"ALTER Table "a ""b" OWNER TO c_1; COMMENT 'it''s to d' 5"#;
        let shown: Vec<String> = tokens(text)
            .iter()
            .map(|token| match &token.kind {
                Kind::Word(word) => word.clone(),
                Kind::Name(name) => format!("<{name}>"),
                Kind::Sign(sign) => char::from(*sign).to_string(),
            })
            .collect();
        let expected = ["alter", "table", "<a \"b>", "owner", "to", "c_1", ";", "comment", "'", "'", "5"];
        assert_eq!(shown, expected);
        let name = &tokens(text)[2];
        assert_eq!(&text[name.at.clone()], br#""a ""b""#);
    }

    #[test]
    fn what_breaks_off_is_a_token_to_its_end() {
        assert_eq!(tokens(b"\"abc").last().and_then(Token::name), Some("abc"));
        assert_eq!(tokens(b"x 'abc").last().map(|token| token.at.clone()), Some(2..6));
        assert!(tokens(b"").is_empty());
    }
}
