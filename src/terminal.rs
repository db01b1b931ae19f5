//! What a terminal is given: names without control characters, colours where they are wanted, and one line
//! at the bottom that other lines do not garble. The only place that knows escape sequences.

use std::borrow::Cow;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stderr, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A line that stays below whatever else is written to a terminal.
#[derive(Debug)]
pub struct BottomLine<W> {
    out: W,
    shown: String,
}

/// Back to the first column, and nothing left of what stood there (ECMA-48, EL).
const ERASE: &str = "\r\x1b[K";
/// A line that is too long is cut by the terminal instead of going on in the next one (DECAWM), so that
/// erasing one line erases all of it, whatever the width is by then.
const DO_NOT_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

impl<W: Write> BottomLine<W> {
    /// No line yet, on this terminal.
    pub fn new(out: W) -> Self {
        Self { out, shown: String::new() }
    }

    /// Shows `text`, in place of what was shown. A terminal that is gone is no error.
    pub fn show(&mut self, text: &str) {
        self.shown = printable(text).into_owned();
        self.draw();
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        self.erase();
        self.shown.clear();
    }

    /// Lets `write` write whole lines, which come to stand above this one.
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
            let line = format!("{ERASE}{DO_NOT_WRAP}{}{WRAP}", self.shown);
            let _ = self.out.write_all(line.as_bytes());
            let _ = self.out.flush();
        }
    }
}

static ON_STANDARD_ERROR: LazyLock<Mutex<BottomLine<Stderr>>> =
    LazyLock::new(|| Mutex::new(BottomLine::new(io::stderr())));

/// Shows a line at the bottom of standard error, or takes it away.
pub fn show_bottom_line(text: Option<&str>) {
    let mut line = ON_STANDARD_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    match text {
        Some(text) => line.show(text),
        None => line.clear(),
    }
}

/// Lets `write` write whole lines to standard error, or to standard output on the same terminal, above the
/// line at the bottom.
pub fn above_bottom_line<T>(write: impl FnOnce(&mut dyn Write) -> T) -> T {
    let mut line = ON_STANDARD_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    line.give_way(|out| write(out))
}

/// Standard error, for lines that are written whole.
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

/// Whether standard error is a terminal on which a line can be drawn again and again.
pub fn can_redraw() -> bool {
    io::stderr().is_terminal() && understands_escapes(env::var("TERM").ok().as_deref())
}

/// Whether standard output is a terminal, and its user wants colours on it: not with `NO_COLOR`.
pub fn has_colours() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stdout().is_terminal() && understands_escapes(env::var("TERM").ok().as_deref())
}

/// A colour or weight of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// For headings.
    Bold,
    /// For what matters less.
    Dim,
    /// For what is well.
    Green,
    /// For what is not.
    Red,
}

impl Paint {
    /// The text with the escape sequences around it (ECMA-48, SGR).
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

/// A text with control characters, and those that turn the direction of writing, written out: a database may
/// be called by what would move the cursor or hide the rest of a line.
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

/// Whether a terminal obeys a character instead of showing it.
fn steers(c: char) -> bool {
    // Unicode's line and paragraph separators, and the characters of its bidirectional algorithm.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal shows after it was sent `bytes`: complete lines, and the one that the cursor is in.
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
        let mut line = BottomLine::new(Vec::new());
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
        let mut line = BottomLine::new(Vec::new());
        line.show("a\r\nb");
        assert_eq!(shown(&line.out), (vec![], r"a\r\nb".into()));
    }

    #[test]
    fn a_dumb_terminal_is_no_place_for_a_line() {
        assert!(understands_escapes(Some("xterm-256color")));
        assert!([None, Some(""), Some("dumb")].iter().all(|term| !understands_escapes(*term)));
    }
}
