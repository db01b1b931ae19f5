//! Tables for people: aligned by what a terminal shows, no wider than 80 columns, coloured where it can.

use jiff::{Timestamp, tz::TimeZone};
use unicode_width::UnicodeWidthStr;

use super::context::print;
use crate::store::records;
use crate::util::clock;
use crate::util::terminal::{self, COLUMNS, Paint};
use crate::util::units;

/// The gap between two columns.
const GAP: &str = "  ";

/// A column's heading, and the side that its cells keep to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// Words.
    Left(&'static str),
    /// Quantities.
    Right(&'static str),
    /// Names of backups, which are cut at the beginning if there is no room.
    Name(&'static str),
    /// Other texts, which are cut at the end.
    Text(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        let (Self::Left(heading) | Self::Right(heading) | Self::Name(heading) | Self::Text(heading)) = self;
        heading
    }

    /// The width down to which its cells are cut first, if they can be cut. A backup's name keeps its end, in which it
    /// differs from others.
    fn wanted(self) -> Option<usize> {
        match self {
            Self::Left(_) | Self::Right(_) => None,
            Self::Name(_) => Some(32),
            Self::Text(_) => Some(16),
        }
    }
}

/// One cell: text that a terminal can be given, and its colour.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Cell {
    /// In this colour.
    pub fn painted(self, paint: Paint) -> Self {
        Self { paint: Some(paint), ..self }
    }

    /// A result in green or red.
    pub fn result(outcome: records::Outcome) -> Self {
        match outcome {
            records::Outcome::Ok => Self::from("OK").painted(Paint::Green),
            records::Outcome::Failed => Self::from("FAILED").painted(Paint::Red),
        }
    }

    /// The age of a time in Unix seconds: `-` without one, `future` for a time that has not come yet.
    pub fn since(at: Option<i64>, now: i64) -> Self {
        match at {
            None => Self::from("-"),
            Some(at) if clock::is_future(at, now) => Self::from("future").painted(Paint::Red),
            Some(at) => Self::from(units::age(now.saturating_sub(at).max(0))),
        }
    }

    /// Its text, which a terminal can be given.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn width(&self) -> usize {
        self.text.width()
    }

    /// Its text cut to a width.
    fn cut(&self, column: Column, width: usize) -> Self {
        let text = match column {
            Column::Name(_) => terminal::cut_start(&self.text, width),
            _ => terminal::cut_end(&self.text, width),
        };
        Self { text: text.into_owned(), paint: self.paint }
    }

    fn shown(&self, coloured: bool) -> String {
        match self.paint.filter(|_| coloured && !self.text.is_empty()) {
            Some(paint) => paint.on(&self.text),
            None => self.text.clone(),
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: terminal::printable(text.as_ref()).into_owned(), paint: None }
    }
}

/// Rows under headings.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    lines: Vec<Line<N>>,
}

#[derive(Debug)]
enum Line<const N: usize> {
    Row([Cell; N]),
    /// A heading for the rows below it, and an addition to it.
    Heading(Cell, Cell),
    /// A line that belongs to the row above it.
    Note(Cell),
}

impl<const N: usize> Table<N> {
    /// No rows yet.
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns, lines: Vec::new() }
    }

    /// Adds a row below the others.
    pub fn add(&mut self, row: [Cell; N]) {
        self.lines.push(Line::Row(row));
    }

    /// Begins a block with a heading. `more` is left out if there is no room for both.
    pub fn begin(&mut self, name: &str, more: &str) {
        self.lines.push(Line::Heading(Cell::from(name).painted(Paint::Bold), Cell::from(more)));
    }

    /// Adds a line below a row: the name of a backup.
    pub fn note(&mut self, name: Cell) {
        self.lines.push(Line::Note(name));
    }

    /// Prints it to standard output.
    pub fn print(&self) {
        self.lines(terminal::has_colours()).iter().for_each(|line| print(line));
    }

    fn lines(&self, coloured: bool) -> Vec<String> {
        let headings = self.columns.map(|column| Cell::from(column.heading()).painted(Paint::Bold));
        let rows = self.lines.iter().filter_map(|line| match line {
            Line::Row(row) => Some(row),
            _ => None,
        });
        let widths = self.widths(std::iter::once(&headings).chain(rows));
        let mut lines = vec![self.row(&headings, &widths, coloured)];
        for line in &self.lines {
            match line {
                Line::Row(row) => lines.push(self.row(row, &widths, coloured)),
                Line::Heading(name, more) => {
                    lines.push(String::new());
                    lines.push(block(name, more, coloured));
                }
                Line::Note(name) => {
                    let name = name.cut(Column::Name(""), COLUMNS - GAP.len());
                    lines.push(format!("{GAP}{}", name.shown(coloured)));
                }
            }
        }
        lines
    }

    /// The width of each column: that of its widest cell. If the row does not fit, columns that can be cut become
    /// narrower, first the one that is furthest above its wanted width.
    fn widths<'a>(&self, rows: impl Iterator<Item = &'a [Cell; N]>) -> [usize; N] {
        let mut widths = [0; N];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        while widths.iter().sum::<usize>() + GAP.len() * N.saturating_sub(1) > COLUMNS {
            let flexible = widths.iter_mut().zip(self.columns);
            let flexible = flexible.filter_map(|(width, column)| Some((column.wanted()?, width)));
            let longest = flexible.filter(|(_, width)| **width > 0);
            match longest.max_by_key(|(wanted, width)| width.cast_signed() - wanted.cast_signed()) {
                Some((_, width)) => *width -= 1,
                None => break,
            }
        }
        widths
    }

    fn row(&self, row: &[Cell; N], widths: &[usize; N], coloured: bool) -> String {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(self.columns).zip(widths) {
            let cell = cell.cut(column, *width);
            let padding = " ".repeat(width - cell.width());
            line += &match column {
                Column::Right(_) => padding + &cell.shown(coloured),
                _ => cell.shown(coloured) + &padding,
            };
            line += GAP;
        }
        line.trim_end().to_owned()
    }
}

fn block(name: &Cell, more: &Cell, coloured: bool) -> String {
    if name.width() + GAP.len() + more.width() <= COLUMNS {
        format!("{}{GAP}{}", name.shown(coloured), more.shown(coloured)).trim_end().to_owned()
    } else {
        name.cut(Column::Text(""), COLUMNS).shown(coloured)
    }
}

/// Prints a text below a word, in lines that fit.
pub(super) fn print_below(word: &str, text: &str) {
    let indent = " ".repeat(word.width());
    let text = terminal::printable(text);
    for (at, line) in terminal::wrapped(&text, COLUMNS - word.width()).iter().enumerate() {
        print(format!("{}{line}", if at == 0 { word } else { &indent }).trim_end());
    }
}

/// A moment in Unix seconds, in the zone of `TZ`.
pub(super) fn time(second: i64) -> Cell {
    moment(second, "%Y-%m-%d %H:%M:%S")
}

/// The same without seconds.
pub(super) fn short_time(second: i64) -> Cell {
    moment(second, "%Y-%m-%d %H:%M")
}

fn moment(second: i64, form: &str) -> Cell {
    let time = Timestamp::from_second(second).unwrap_or_default().to_zoned(TimeZone::system());
    Cell::from(time.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new([Column::Right("SIZE"), Column::Left("RESULT"), Column::Left("NAME")]);
        let ok = || Cell::result(records::Outcome::Ok);
        table.add([Cell::from("1.0 KiB"), ok(), Cell::from("a")]);
        table.add([Cell::from("12.3 MiB"), Cell::result(records::Outcome::Failed), Cell::from("b\x1b[2J\n")]);
        table.add([Cell::from("-"), Cell::from("数据"), Cell::from("e\u{301}")]);
        table.add([Cell::from("-"), Cell::from("e\u{301}"), Cell::from("")]);
        table
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen_and_names_cannot_steer_the_terminal() {
        assert_eq!(
            table().lines(false),
            [
                "    SIZE  RESULT  NAME",
                " 1.0 KiB  OK      a",
                r"12.3 MiB  FAILED  b\u{1b}[2J\n",
                "       -  数据    e\u{301}",
                "       -  e\u{301}",
            ]
        );
    }

    #[test]
    fn colours_do_not_move_the_columns() {
        let lines = table().lines(true);
        assert_eq!(lines[1], " 1.0 KiB  \x1b[32mOK\x1b[0m      a");
        assert!(lines[2].contains("\x1b[31mFAILED\x1b[0m"), "{lines:?}");
        assert!(lines[0].starts_with("    \x1b[1mSIZE\x1b[0m"), "{lines:?}");
    }

    #[test]
    fn names_are_cut_where_a_row_would_not_fit_and_blocks_keep_to_the_width() {
        let mut table = Table::new([Column::Left("A"), Column::Text("TEXT"), Column::Name("NAME")]);
        table.begin("short", "last/short.sql");
        table.add([Cell::from("x".repeat(30)), Cell::from("t".repeat(60)), Cell::from("last/abc.sql")]);
        table.begin(&"n".repeat(90), "last/gone.sql");
        table.note(Cell::from(format!("daily/{}", "n".repeat(90))));
        let lines = table.lines(false);
        assert!(lines.iter().all(|line| line.width() <= COLUMNS), "{lines:#?}");
        assert_eq!(lines[2], "short  last/short.sql");
        assert_eq!(lines[3], format!("{}  {}\u{2026}  last/abc.sql", "x".repeat(30), "t".repeat(33)));
        assert_eq!(lines[5], format!("{}\u{2026}", "n".repeat(79)));
        assert_eq!(lines[6], format!("  daily/\u{2026}{}", "n".repeat(71)));
    }
}
