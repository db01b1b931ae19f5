//! The words of a statement, as far as they tell where it ends.

/// Bytes of an unquoted word; a letter or underscore begins it.
pub(super) fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The words of a statement, as far as they tell where it ends.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The word that is going by, in small letters, cut where it matters no more.
    word: Vec<u8>,
    /// The first ones.
    first: Vec<Vec<u8>>,
    /// The last two.
    last: [Vec<u8>; 2],
    /// Whether the string that ended last knew escapes.
    pub string_escapes: bool,
    /// Open BEGIN and CASE of a function body without quotes.
    pub blocks: u32,
}

/// No longer word matters.
const LONGEST: usize = 28;
/// So many words tell what a statement is.
const TELLING: usize = 4;

impl Words {
    /// Takes a byte that is none of a quote or a comment, within so many parentheses, and answers whether it belongs to
    /// a word.
    pub fn take(&mut self, byte: u8, parentheses: u32) -> bool {
        let begins_none = self.word.is_empty() && (byte.is_ascii_digit() || byte == b'$');
        if is_of_word(byte) && !begins_none {
            if self.word.len() <= LONGEST {
                self.word.push(byte.to_ascii_lowercase());
            }
            return true;
        }
        // Directly before a string stands no word but a prefix of it.
        if !self.word.is_empty() && byte != b'\'' {
            self.finish(parentheses);
        }
        false
    }

    /// Whether backslashes escape in the string that begins here: its prefix says so.
    pub fn begin_string(&mut self) -> bool {
        std::mem::take(&mut self.word) == b"e"
    }

    fn finish(&mut self, parentheses: u32) {
        let word = std::mem::take(&mut self.word);
        // A parameter may be called `begin`.
        if parentheses == 0 && self.makes_routine() {
            match word.as_slice() {
                b"begin" => self.blocks += 1,
                b"case" if self.blocks > 0 => self.blocks += 1,
                b"end" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        if self.first.len() < TELLING {
            self.first.push(word.clone());
        }
        self.last.rotate_left(1);
        self.last[1] = word;
    }

    fn makes_routine(&self) -> bool {
        let first: Vec<&[u8]> = self.first.iter().map(Vec::as_slice).collect();
        matches!(
            first[..],
            [b"create", b"function" | b"procedure", ..]
                | [b"create", b"or", b"replace", b"function" | b"procedure"]
        )
    }

    /// Whether the statement, which has ended, is a COPY as pg_dump writes it, and rows follow.
    pub fn copies_rows(&self) -> bool {
        self.first.first().is_some_and(|word| word == b"copy") && self.last == [&b"from"[..], b"stdin"]
    }

    /// What the statement says of backslashes in strings, if it does.
    pub fn sets_escapes(&self) -> Option<bool> {
        let sets = self.first.first().is_some_and(|word| word == b"set")
            && self.first.get(1).is_some_and(|word| word == b"standard_conforming_strings");
        sets.then(|| self.last[1] == b"off")
    }
}
