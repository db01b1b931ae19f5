//! Tables for people: aligned by what a terminal shows, coloured where it can.

use jiff::{Timestamp, tz::TimeZone};
use unicode_width::UnicodeWidthStr;

use super::print;
use crate::backup;
use crate::terminal::{self, Paint};

/// Between two columns.
const GAP: &str = "  ";

/// A column's heading, and the side that its cells keep to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// Words.
    Left(&'static str),
    /// Quantities.
    Right(&'static str),
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

    /// A result, in the colour that it deserves.
    pub fn result(outcome: backup::Outcome) -> Self {
        match outcome {
            backup::Outcome::Ok => Self::from("OK").painted(Paint::Green),
            backup::Outcome::Failed => Self::from("FAILED").painted(Paint::Red),
        }
    }

    fn width(&self) -> usize {
        self.text.width()
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
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// No rows yet.
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row below the others.
    pub fn add(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Prints it to standard output.
    pub fn print(&self) {
        self.lines(terminal::has_colours()).iter().for_each(|line| print(line));
    }

    fn lines(&self, coloured: bool) -> Vec<String> {
        let headings = self.columns.map(|column| match column {
            Column::Left(heading) | Column::Right(heading) => Cell::from(heading).painted(Paint::Bold),
        });
        let rows: Vec<&[Cell; N]> = std::iter::once(&headings).chain(&self.rows).collect();
        let widths: Vec<usize> =
            (0..N).map(|at| rows.iter().map(|row| row[at].width()).max().unwrap_or_default()).collect();
        rows.into_iter().map(|row| self.line(row, &widths, coloured)).collect()
    }

    fn line(&self, row: &[Cell; N], widths: &[usize], coloured: bool) -> String {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(self.columns).zip(widths) {
            let padding = " ".repeat(width - cell.width());
            let text = match cell.paint.filter(|_| coloured && !cell.text.is_empty()) {
                Some(paint) => paint.on(&cell.text),
                None => cell.text.clone(),
            };
            line += &match column {
                Column::Left(_) => text + &padding,
                Column::Right(_) => padding + &text,
            };
            line += GAP;
        }
        line.trim_end().to_owned()
    }
}

/// A moment in Unix seconds, in the zone of `TZ`.
pub(super) fn time(second: i64) -> Cell {
    let time = Timestamp::from_second(second).unwrap_or_default().to_zoned(TimeZone::system());
    Cell::from(time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new([Column::Right("SIZE"), Column::Left("RESULT"), Column::Left("NAME")]);
        let ok = || Cell::result(backup::Outcome::Ok);
        table.add([Cell::from("1.0 KiB"), ok(), Cell::from("a")]);
        table.add([Cell::from("12.3 MiB"), Cell::result(backup::Outcome::Failed), Cell::from("b\x1b[2J\n")]);
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
}
