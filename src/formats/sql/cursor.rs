//! Reads the tokens of a statement from left to right.

use super::tokens::{Kind, Token, tokens};

/// A position between two tokens of a statement.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    tokens: Vec<Token>,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a statement.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, tokens: tokens(text), at: 0 }
    }

    fn peek(&self, on: usize) -> Option<&Token> {
        self.tokens.get(self.at + on)
    }

    /// Whether these keywords are next.
    pub fn sees(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(on, word)| self.peek(on).is_some_and(|token| token.is(word)))
    }

    /// Skips these keywords if all are next. Returns whether they were.
    pub fn eat(&mut self, words: &[&str]) -> bool {
        let sees = self.sees(words);
        self.at += if sees { words.len() } else { 0 };
        sees
    }

    /// Skips a sign if it is next. Returns whether it was.
    pub fn eat_sign(&mut self, sign: u8) -> bool {
        let sees = self.peek(0).is_some_and(|token| token.is_sign(sign));
        self.at += usize::from(sees);
        sees
    }

    /// Reads a name, quoted or not.
    pub fn name(&mut self) -> Option<String> {
        let name = self.peek(0)?.name()?.to_owned();
        self.at += 1;
        Some(name)
    }

    /// Reads a name, or a string in place of one.
    pub fn name_or_string(&mut self) -> Option<String> {
        self.name().or_else(|| self.string())
    }

    /// Reads a string in single quotes. A doubled quote in it separates two tokens.
    fn string(&mut self) -> Option<String> {
        let (mut value, mut end) = (Vec::new(), None);
        while let Some(token) = self.peek(0).filter(|token| token.is_sign(b'\''))
            && end.is_none_or(|end| end == token.at.start)
        {
            if end.is_some() {
                value.push(b'\'');
            }
            value.extend_from_slice(self.text.get(token.at.start + 1..token.at.end.checked_sub(1)?)?);
            end = Some(token.at.end);
            self.at += 1;
        }
        end.map(|_| String::from_utf8_lossy(&value).into_owned())
    }

    /// Skips names separated by dots. The last may be an operator, or the number of a large object.
    pub fn skip_qualified_name(&mut self) {
        loop {
            match self.peek(0).map(|token| &token.kind) {
                Some(Kind::Word(_) | Kind::Name(_)) => self.at += 1,
                _ => break self.skip_operator(),
            }
            if !self.eat_sign(b'.') {
                break;
            }
        }
    }

    /// Skips the signs of an operator or a number.
    pub fn skip_operator(&mut self) {
        let is_part =
            |kind: &Kind| matches!(kind, Kind::Sign(sign) if !matches!(sign, b'(' | b')' | b';' | b','));
        while self.peek(0).is_some_and(|token| is_part(&token.kind)) {
            self.at += 1;
        }
    }

    /// Skips a pair of parentheses and its contents, if it is next.
    pub fn skip_parentheses(&mut self) {
        let mut depth = 0_u32;
        while let Some(token) = self.peek(0) {
            match token.kind {
                Kind::Sign(b'(') => depth += 1,
                Kind::Sign(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && !token.is_sign(b')') {
                return;
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips to after the next of these keywords outside parentheses. Returns whether one was found. A word after a
    /// dot is a name.
    pub fn skip_past(&mut self, words: &[&str]) -> bool {
        let mut is_name = false;
        while let Some(token) = self.peek(0) {
            if token.is_sign(b'(') {
                self.skip_parentheses();
                is_name = false;
                continue;
            }
            let is_wanted = !is_name && words.iter().any(|word| token.is(word));
            is_name = token.is_sign(b'.');
            self.at += 1;
            if is_wanted {
                return true;
            }
        }
        false
    }

    /// Whether the last skipped token is this keyword.
    pub fn is_past(&self, word: &str) -> bool {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).is_some_and(|token| token.is(word))
    }

    /// Whether the token `on` positions ahead is the dot of a qualified name.
    pub fn is_qualified(&self, on: usize) -> bool {
        self.peek(on).is_some_and(|token| token.is_sign(b'.'))
    }

    /// Reads roles separated by commas. Keywords in place of roles are left out.
    pub fn roles(&mut self) -> Vec<String> {
        let mut roles = Vec::new();
        loop {
            if self.sees(&["group"]) && self.peek(1).is_some_and(|token| token.name().is_some()) {
                self.at += 1;
            }
            let Some(token) = self.peek(0) else { break };
            let stands_for_one = NO_ROLES.iter().any(|word| token.is(word));
            let Some(name) = self.name() else { break };
            // PUBLIC, even in quotes, is not a role.
            if !stands_for_one && name != "public" {
                roles.push(name);
            }
            if !self.eat_sign(b',') {
                break;
            }
        }
        roles
    }

    /// Reads one role; `None` for a keyword in its place.
    pub fn role(&mut self) -> Option<String> {
        let end = self.at + 1;
        let role = self.roles().into_iter().next();
        self.at = end.min(self.tokens.len());
        role
    }
}

/// Keywords that may stand in place of a role.
const NO_ROLES: [&str; 6] = ["current_user", "session_user", "current_role", "user", "none", "default"];
