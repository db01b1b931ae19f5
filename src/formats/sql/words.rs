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
    /// Open BEGIN ATOMIC and CASE of a function body without quotes.
    pub blocks: u32,
    /// The last sign, if no word has ended since.
    sign: u8,
    /// The word that has ended with the byte that was taken last, and whether it can only be a name.
    pub ended: Option<(Block, bool)>,
}

/// A word that psql takes for the beginning or the end of a block in a function body without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Begin,
    Atomic,
    Case,
    End,
    /// Any other word.
    None,
}

/// No longer word matters.
const LONGEST: usize = 28;
/// So many words tell what a statement is.
const TELLING: usize = 4;

impl Words {
    /// Takes a byte that is none of a quote or a comment, within so many parentheses, and answers whether it belongs to
    /// a word.
    pub fn take(&mut self, byte: u8, parentheses: u32) -> bool {
        self.ended = None;
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
        if !byte.is_ascii_whitespace() {
            self.sign = byte;
        }
        false
    }

    /// Whether backslashes escape in the string that begins here: its prefix says so.
    pub fn begin_string(&mut self) -> bool {
        std::mem::take(&mut self.word) == b"e"
    }

    fn finish(&mut self, parentheses: u32) {
        let word = std::mem::take(&mut self.word);
        if parentheses == 0 && self.makes_routine() {
            self.finish_word_of_routine(&word);
        }
        self.sign = 0;
        if self.first.len() < TELLING {
            self.first.push(word.clone());
        }
        self.last.rotate_left(1);
        self.last[1] = word;
    }

    /// As the server's grammar has it, a body without quotes begins with BEGIN ATOMIC. Any other `begin` is a name, as is
    /// what follows a dot or AS.
    fn finish_word_of_routine(&mut self, word: &[u8]) {
        let is_name = self.sign == b'.' || self.sign == 0 && self.last[1] == b"as";
        let block = match word {
            b"begin" => Block::Begin,
            b"atomic" => Block::Atomic,
            b"case" => Block::Case,
            b"end" => Block::End,
            _ => Block::None,
        };
        match block {
            _ if is_name => {}
            Block::Atomic if self.blocks == 0 && self.sign == 0 && self.last[1] == b"begin" => {
                self.blocks = 1
            }
            Block::Case if self.blocks > 0 => self.blocks += 1,
            Block::End => self.blocks = self.blocks.saturating_sub(1),
            _ => {}
        }
        self.ended = Some((block, is_name));
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
