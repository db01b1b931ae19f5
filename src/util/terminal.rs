//! Terminal output: names without control characters, optional colours, and a status line at the bottom that other
//! output does not garble. The only module with escape sequences.

use std::borrow::Cow;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stderr, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use unicode_width::UnicodeWidthStr;

/// Width of tables, and of a terminal that reports no width.
pub const COLUMNS: usize = 80;

/// A status line kept below all other output on a terminal.
#[derive(Debug)]
pub struct BottomLine<W> {
    out: W,
    shown: String,
    columns: fn() -> usize,
}

/// Returns to the first column and erases the line (ECMA-48, EL).
const ERASE: &str = "\r\x1b[K";
/// Turns off wrapping (DECAWM): a line that fills the width, or is too long after the terminal became narrower, stays
/// on one row, so erasing one row erases all of it.
const DO_NOT_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

impl<W: Write> BottomLine<W> {
    /// An empty status line. `columns` returns the current width of the terminal.
    pub fn new(out: W, columns: fn() -> usize) -> Self {
        Self { out, shown: String::new(), columns }
    }

    /// Shows `text` in place of the old line. Write errors are ignored: the terminal may be gone.
    pub fn show(&mut self, text: &str) {
        self.shown = printable(text).into_owned();
        self.draw();
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        self.erase();
        self.shown.clear();
    }

    /// Calls `write`, which must write whole lines; they appear above the status line.
    pub fn give_way<T>(&mut self, write: impl FnOnce(&mut W) -> T) -> T {
        self.erase();
        let written = write(&mut self.out);
        self.draw();
        written
    }

    fn erase(&mut self) {
        if !self.shown.is_empty() {
            let _ = self.out.write_all(ERASE.as_bytes());
            let _ = self.out.flush();
        }
    }

    fn draw(&mut self) {
        if !self.shown.is_empty() {
            // A terminal that does not wrap writes the excess over its last column.
            let shown = cut_end(&self.shown, (self.columns)());
            let line = format!("{ERASE}{DO_NOT_WRAP}{shown}{WRAP}");
            let _ = self.out.write_all(line.as_bytes());
            let _ = self.out.flush();
        }
    }
}

static ON_STANDARD_ERROR: LazyLock<Mutex<BottomLine<Stderr>>> =
    LazyLock::new(|| Mutex::new(BottomLine::new(io::stderr(), columns)));

/// Shows the status line on standard error, or removes it.
pub fn show_bottom_line(text: Option<&str>) {
    let mut line = ON_STANDARD_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    match text {
        Some(text) => line.show(text),
        None => line.clear(),
    }
}

/// Calls `write` to write whole lines to standard error, or to standard output on the same terminal, above the status
/// line.
pub fn above_bottom_line<T>(write: impl FnOnce(&mut dyn Write) -> T) -> T {
    let mut line = ON_STANDARD_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    line.give_way(|out| write(out))
}

/// Writes whole lines to standard error above the status line.
#[derive(Debug, Default)]
pub struct AboveBottomLine;

impl Write for AboveBottomLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above_bottom_line(|out| out.write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Width in columns of the terminal at standard error; [`COLUMNS`] if unknown.
pub fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// Whether standard error is a terminal on which a line can be redrawn.
pub fn can_redraw() -> bool {
    io::stderr().is_terminal() && understands_escapes(env::var("TERM").ok().as_deref())
}

/// Whether standard output is a terminal that takes colours and `NO_COLOR` is not set.
pub fn has_colours() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stdout().is_terminal() && understands_escapes(env::var("TERM").ok().as_deref())
}

/// A colour or weight of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// For headings.
    Bold,
    /// For less important text.
    Dim,
    /// For success.
    Green,
    /// For failure.
    Red,
}

impl Paint {
    /// Wraps the text in the escape sequences (ECMA-48, SGR).
    pub fn on(self, text: &str) -> String {
        let code = match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Green => 32,
            Self::Red => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn understands_escapes(term: Option<&str>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Escapes control and bidirectional characters: the name of a database could move the cursor or hide the rest of a
/// line.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.chars().any(steers) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
            let _ = match steers(c) {
                true => write!(shown, "{}", c.escape_default()),
                false => shown.write_char(c),
            };
            shown
        })),
    }
}

/// Stands for the text cut off.
const ELLIPSIS: char = '\u{2026}';

/// Shortens a text to `columns`, with an ellipsis at its end if it is cut.
pub fn cut_end(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let parts = text.char_indices().rev().map(|(at, _)| &text[..at]);
    match longest(parts, columns) {
        Some(part) => Cow::Owned(format!("{part}{ELLIPSIS}")),
        None => Cow::Borrowed(""),
    }
}

/// Like [`cut_end`], but cuts the beginning, because backup names differ at their end. A leading slot is kept.
pub fn cut_start(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let (slot, name) = text.split_at(text.find('/').map_or(0, |at| at + 1));
    let parts = name.char_indices().skip(1).map(|(at, _)| &name[at..]);
    match longest(parts, columns.saturating_sub(slot.width())) {
        Some(part) => Cow::Owned(format!("{slot}{ELLIPSIS}{part}")),
        None => cut_end(text, columns),
    }
}

/// The first of `parts`, which are ordered longest first, that leaves a column for the ellipsis.
fn longest<'a>(mut parts: impl Iterator<Item = &'a str>, columns: usize) -> Option<&'a str> {
    parts.find(|part| part.width() < columns)
}

/// Wraps a text into lines of at most `columns`, between words where possible.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for letter in word.chars() {
            if line.width() >= columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
    }
    lines.push(line);
    lines
}

/// Whether a character controls a terminal instead of being shown.
fn steers(c: char) -> bool {
    // Besides controls: Unicode line and paragraph separators, and bidirectional formatting characters.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal shows after `bytes`: the complete lines, and the line with the cursor.
    fn shown(bytes: &[u8]) -> (Vec<String>, String) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text = text.replace(DO_NOT_WRAP, "").replace(WRAP, "");
        let mut lines: Vec<String> = text.split('\n').map(String::from).collect();
        for line in &mut lines {
            *line = line.rsplit(ERASE).next().unwrap().to_owned();
            assert!(!line.contains(['\r', '\x1b']), "{line:?}");
        }
        let last = lines.pop().unwrap();
        (lines, last)
    }

    #[test]
    fn lines_written_meanwhile_stand_above_and_the_line_below_them() {
        let mut line = BottomLine::new(Vec::new(), || 20);
        line.give_way(|out| out.write_all(b"before\n").unwrap());
        assert_eq!(line.out, b"before\n", "nothing is drawn where there is no line");
        line.show("10 %");
        line.show("20 %");
        line.give_way(|out| out.write_all(b"a message\n").unwrap());
        assert_eq!(shown(&line.out), (vec!["before".into(), "a message".into()], "20 %".into()));
        line.clear();
        line.give_way(|out| out.write_all(b"after\n").unwrap());
        assert_eq!(
            shown(&line.out),
            (["before", "a message", "after"].map(String::from).to_vec(), String::new())
        );
    }

    #[test]
    fn what_would_steer_a_terminal_is_written_out() {
        assert_eq!(printable("Ünïcödé ☃ 数据"), "Ünïcödé ☃ 数据");
        assert_eq!(printable("a\x1b[2Jb\r\n\u{9b}\u{202e}c"), r"a\u{1b}[2Jb\r\n\u{9b}\u{202e}c");
        let mut line = BottomLine::new(Vec::new(), || 20);
        line.show("a\r\nb");
        assert_eq!(shown(&line.out), (vec![], r"a\r\nb".into()));
    }

    #[test]
    fn a_line_ends_where_the_terminal_does() {
        let mut line = BottomLine::new(Vec::new(), || 20);
        line.show("01234567890123456789");
        assert_eq!(shown(&line.out).1, "01234567890123456789");
        line.show("012345678901234567890");
        assert_eq!(shown(&line.out).1, "0123456789012345678\u{2026}");
    }

    #[test]
    fn what_is_cut_has_an_ellipsis_and_fits_whatever_the_script() {
        let end = |text, columns| cut_end(text, columns).into_owned();
        assert_eq!([end("abc", 3), end("abcd", 3), end("a", 0)], ["abc", "ab\u{2026}", ""]);
        assert_eq!([end("数据库", 5), end("数据库", 4)], ["数据\u{2026}", "数\u{2026}"]);
        let start = |text, columns| cut_start(text, columns).into_owned();
        assert_eq!([start("abc", 3), start("abcd", 3)], ["abc", "\u{2026}cd"]);
        assert_eq!(start("daily/app-20260416.sql.gz", 20), "daily/\u{2026}260416.sql.gz");
        assert_eq!(start("daily/app-20260416.sql.gz", 4), "dai\u{2026}");
    }

    #[test]
    fn a_long_text_is_broken_between_words_and_a_long_word_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a 1234567890 b", 4), ["a", "1234", "5678", "90 b"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn a_dumb_terminal_is_no_place_for_a_line() {
        assert!(understands_escapes(Some("xterm-256color")));
        assert!([None, Some(""), Some("dumb")].iter().all(|term| !understands_escapes(*term)));
    }
}
