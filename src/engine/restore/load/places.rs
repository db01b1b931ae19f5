//! Maps lines of psql's input to places in the dump.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

/// Maps a line number of psql's input to its place in the dump.
pub type Places = Arc<dyn Fn(u64) -> Place + Send + Sync>;

/// A place in the dump.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line of the dump, or the entry of the archive.
    pub name: String,
    /// Whether the line was added and is not part of the dump.
    pub is_own: bool,
}

/// Maximum length of an entry's line, in bytes.
const LONGEST: usize = 300;

/// The numbers of lines in psql's input that are not part of the dump.
#[derive(Debug, Clone, Default)]
pub struct OwnLines(Arc<Mutex<Vec<u64>>>);

impl OwnLines {
    /// Adds a line. Lines must be added in ascending order.
    pub fn note(&self, line: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// The number of lines.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// The number in the dump of a line of psql's input, and whether the line was added. An added line has the number
    /// of the next line of the dump.
    fn in_dump(&self, line: u64) -> (u64, bool) {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = own.partition_point(|own| *own < line);
        (line - (before as u64).min(line), own.get(before) == Some(&line))
    }

    /// The mapping of lines to entries, if there are any, or else to lines of the dump.
    pub fn places(&self, entries: Option<Entries>) -> Places {
        let own = self.clone();
        Arc::new(move |line| {
            let (line, is_own) = own.in_dump(line);
            let entry = entries.as_ref().and_then(|entries| entries.name(line));
            let name = entry.map_or_else(|| format!("line {line}"), |name| format!("entry {name}"));
            Place { name, is_own }
        })
    }
}

/// The entries of an archive that is converted to SQL: the line at which each begins, and its name.
#[derive(Debug, Clone, Default)]
pub struct Entries(Arc<Mutex<Vec<(u64, String)>>>);

impl Entries {
    /// Adds an entry that begins at a line.
    pub fn note(&self, line: u64, name: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((line, name));
    }

    /// The entry that a line belongs to. `None` before the first.
    fn name(&self, line: u64) -> Option<String> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = entries.partition_point(|(begin, _)| *begin <= line);
        entries.get(after.checked_sub(1)?).map(|(_, name)| name.clone())
    }
}

/// The beginning of pg_restore's comment before each entry.
const NAME: &[u8] = b"-- Name: ";

/// A reader of an archive's SQL that collects the entries.
pub struct NamingEntries<R> {
    sql: R,
    entries: Entries,
    line: u64,
    /// The beginning of the current line.
    head: Vec<u8>,
}

impl<R: Read> NamingEntries<R> {
    /// A reader at the beginning of the SQL.
    pub fn new(sql: R, entries: Entries) -> Self {
        Self { sql, entries, line: 1, head: Vec::new() }
    }

    fn end_line(&mut self) {
        if self.head.starts_with(NAME) {
            let text = String::from_utf8_lossy(&self.head[NAME.len()..]).into_owned();
            // "t; Type: TABLE; Schema: public; Owner: postgres"
            let mut parts = text.split("; ");
            let name = parts.next().unwrap_or_default();
            let field = |key: &str| text.split("; ").find_map(|part| part.strip_prefix(key)).unwrap_or("-");
            let schema = match field("Schema: ") {
                "-" => String::new(),
                schema => format!("{schema}."),
            };
            self.entries.note(self.line, format!("{} {schema}{name}", field("Type: ")));
        }
        self.head.clear();
        self.line += 1;
    }
}

impl<R: Read> Read for NamingEntries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.sql.read(buffer)?;
        let mut rest = &buffer[..length];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.head.extend_from_slice(&rest[..end.min(LONGEST)]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        if self.head.len() < LONGEST {
            self.head.extend_from_slice(&rest[..rest.len().min(LONGEST)]);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_dump_and_those_of_an_archives_sql_its_entries() {
        let (own, entries) = (OwnLines::default(), Entries::default());
        own.note(1);
        own.note(12);
        entries.note(10, "TABLE public.t".into());
        entries.note(20, "VIEW public.v".into());
        let places = own.places(None);
        let expected = [
            ("line 1", false),
            ("line 10", false),
            ("line 11", true),
            ("line 11", false),
            ("line 12", false),
        ];
        let place = |(name, is_own): (&str, bool)| Place { name: name.into(), is_own };
        assert_eq!([2, 11, 12, 13, 14].map(|line| places(line)), expected.map(place));
        let places = own.places(Some(entries));
        let expected = ["line 2", "entry TABLE public.t", "entry VIEW public.v"];
        assert_eq!([3, 11, 99].map(|line| places(line).name), expected);
    }
}
