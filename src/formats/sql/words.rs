//! Tracks the words of a statement that determine where it ends.

/// Whether a byte may be part of an unquoted word, which starts with a letter or underscore.
pub(super) fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The words of a statement that determine where it ends.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The current word in lower case, truncated when longer than [`LONGEST`] bytes.
    word: Vec<u8>,
    /// The first words.
    first: Vec<Vec<u8>>,
    /// The last two words.
    last: [Vec<u8>; 2],
    /// Whether the last string had escapes.
    pub string_escapes: bool,
    /// Number of open BEGIN ATOMIC and CASE blocks in an unquoted function body.
    pub blocks: u32,
    /// The last sign, or 0 if a word has ended since.
    sign: u8,
    /// The word that ended with the last byte, and whether it can only be a name.
    pub ended: Option<(Block, bool)>,
}

/// A word that psql takes for the start or end of a block in an unquoted function body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Begin,
    Atomic,
    Case,
    End,
    /// Any other word.
    None,
}

/// Longest word compared, in bytes.
const LONGEST: usize = 28;
/// Number of words that identify a statement.
const TELLING: usize = 4;

impl Words {
    /// Adds a byte outside quotes and comments at this depth of parentheses. Returns whether it is part of a word.
    pub fn take(&mut self, byte: u8, parentheses: u32) -> bool {
        self.ended = None;
        let begins_none = self.word.is_empty() && (byte.is_ascii_digit() || byte == b'$');
        if is_of_word(byte) && !begins_none {
            if self.word.len() <= LONGEST {
                self.word.push(byte.to_ascii_lowercase());
            }
            return true;
        }
        // Directly before a string only its prefix can stand.
        if !self.word.is_empty() && byte != b'\'' {
            self.finish(parentheses);
        }
        if !byte.is_ascii_whitespace() {
            self.sign = byte;
        }
        false
    }

    /// Whether the string that starts here has backslash escapes, by its prefix.
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

    /// By the server's grammar an unquoted body starts with BEGIN ATOMIC. Any other `begin` is a name, and so is a
    /// word after a dot or AS.
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

    /// Whether the finished statement is a COPY from stdin as pg_dump writes it, so that rows follow.
    pub fn copies_rows(&self) -> bool {
        self.first.first().is_some_and(|word| word == b"copy") && self.last == [&b"from"[..], b"stdin"]
    }

    /// Whether the statement turns on backslash escapes in all strings; `None` if it does not set that.
    pub fn sets_escapes(&self) -> Option<bool> {
        let sets = self.first.first().is_some_and(|word| word == b"set")
            && self.first.get(1).is_some_and(|word| word == b"standard_conforming_strings");
        sets.then(|| self.last[1] == b"off")
    }
}
