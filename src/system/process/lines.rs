//! What children print, line by line.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::thread::JoinHandle;

/// A line is cut here, in bytes; the rest of it is dropped.
const LONGEST_LINE: usize = 4096;

/// Calls `take` with each line of `output` as it comes, without its end, cut at 4 KiB and with what is not
/// UTF-8 replaced, until the output ends or cannot be read.
pub fn for_each_line(output: impl Read, take: impl FnMut(&str)) {
    for_each_line_within(LONGEST_LINE, output, take);
}

/// The same, but for lines of up to `longest` bytes.
pub fn for_each_line_within(longest: usize, output: impl Read, mut take: impl FnMut(&str)) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    let mut pending = false;
    loop {
        let chunk = match reader.fill_buf() {
            Ok([]) => break,
            Ok(chunk) => chunk,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let end = memchr::memchr(b'\n', chunk);
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = longest.saturating_sub(line.len()).min(part.len());
        line.extend_from_slice(&part[..room]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(used);
        pending = end.is_none();
        if !pending {
            take(&text(&line));
            line.clear();
        }
    }
    if pending {
        take(&text(&line));
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// The last lines of an output.
#[derive(Debug, Clone)]
pub struct Tail {
    lines: VecDeque<String>,
    most: usize,
}

impl Tail {
    /// Keeps the last `most` lines.
    pub fn new(most: usize) -> Self {
        Self { lines: VecDeque::new(), most }
    }

    /// Adds a line; the oldest one goes when there is no more room.
    pub fn push(&mut self, line: impl Into<String>) {
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(line.into());
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// The lines as one, for an error message.
    pub fn joined(&self) -> String {
        self.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
    }
}

/// Lines of a program's standard error that a failure's message carries.
const ERROR_LINES: usize = 5;

/// Logs what a program prints as it comes, on a thread of its own, and keeps the end of it.
#[derive(Debug)]
pub struct Listener(Option<JoinHandle<Tail>>);

impl Listener {
    /// Begins to listen to a program's standard error.
    pub fn start(output: Option<impl Read + Send + 'static>) -> Self {
        Self::start_without(output, |_| false)
    }

    /// The same, but for lines that are not worth it.
    pub fn start_without(output: Option<impl Read + Send + 'static>, is_noise: fn(&str) -> bool) -> Self {
        let start = |output| {
            let listen = move || {
                let mut said = Tail::new(ERROR_LINES);
                for_each_line(output, |line| {
                    if !is_noise(line) {
                        log::info!("{line}");
                        said.push(line);
                    }
                });
                said
            };
            let thread = std::thread::Builder::new().name("listener".into()).spawn(listen);
            // Without a reader the program ends by SIGPIPE.
            thread.inspect_err(|error| log::error!("cannot read the output of a program: {error}")).ok()
        };
        Self(output.and_then(start))
    }

    /// Waits for the end of the output, and answers its last lines.
    pub fn finish(self) -> Tail {
        self.0.and_then(|thread| thread.join().ok()).unwrap_or_else(|| Tail::new(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for_each_line(bytes, |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_come_without_their_ends_and_the_last_one_needs_none() {
        assert_eq!(lines(b"a\r\n\nb"), ["a", "", "b"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_is_cut_and_what_is_not_utf8_replaced() {
        let long = [b"x".repeat(1 << 20).as_slice(), b"\nnext\xff\n"].concat();
        let lines = lines(&long);
        assert_eq!(lines[0].len(), 4096);
        assert_eq!(lines[1], "next\u{fffd}");
    }

    #[test]
    fn a_tail_keeps_the_newest_lines() {
        let mut tail = Tail::new(2);
        for line in ["a", "b", "c"] {
            tail.push(line);
        }
        assert_eq!(tail.lines().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(tail.joined(), "b | c");
    }
}
