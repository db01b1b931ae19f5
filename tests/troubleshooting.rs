//! `docs/troubleshooting.md` says what the code says: its messages against those in the sources, in both directions.
//!
//! The sources are not parsed, only scanned for string literals. What stands in front of one tells what it is for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// In front of what was being done, which the error says as "cannot {what}: {error}".
const DOING: [&str; 2] = ["DirectoryError::Io(", "map_err(failed("];

/// A string literal of the sources.
struct Literal {
    /// The file, from `src/` on.
    file: String,
    /// The type whose `Display` it is written by.
    display_of: Option<String>,
    /// The code of its statement in front of it, without white space and other literals' text.
    before: String,
    /// As it reads, with `…` for what is put in.
    message: String,
}

fn sources(directory: &Path, found: &mut Vec<Literal>) {
    for entry in fs::read_dir(directory).expect("read a directory") {
        let path = entry.expect("read a directory").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("read a source");
            let file = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("in src");
            scan(
                &file.to_string_lossy(),
                text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default(),
                found,
            );
        }
    }
}

/// Finds the literals of a source.
fn scan(file: &str, text: &str, found: &mut Vec<Literal>) {
    let (mut rest, mut before, mut display_of) = (text, String::new(), None);
    while let Some(next) = rest.chars().next() {
        if let Some(head) = rest.strip_prefix("\nimpl ").and_then(|rest| rest.split(" {\n").next()) {
            display_of = head.split_once("Display for ").map(|(_, name)| name.to_owned());
        } else if rest.starts_with("\n}\n") {
            display_of = None;
        }
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if let Some(length) = character(rest) {
            rest = &rest[length..];
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            rest = raw.split_once("\"#").map_or("", |(_, rest)| rest);
        } else if let Some(raw) = rest.strip_prefix("r\"") {
            rest = raw.split_once('"').map_or("", |(_, rest)| rest);
        } else if next == '"' {
            let length = end_of(&rest[1..]);
            let (file, mut message) = (file.to_owned(), as_read(&rest[1..=length]));
            if DOING.iter().any(|word| before.contains(word)) {
                message = format!("cannot {message}: \u{2026}");
            }
            found.push(Literal { file, display_of: display_of.clone(), before: before.clone(), message });
            before.push_str("\"\"");
            rest = &rest[length + 2..];
        } else {
            match next {
                ';' | '{' | '}' => before.clear(),
                next if next.is_whitespace() => {}
                next => before.push(next),
            }
            rest = &rest[next.len_utf8()..];
        }
    }
}

/// The length of a character's literal, if that is what comes; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let length = match inside.strip_prefix('\\') {
        Some(escaped) => 1 + escaped.chars().next()?.len_utf8(),
        None => inside.chars().next()?.len_utf8(),
    };
    inside[length..].starts_with('\'').then_some(length + 2)
}

/// How long a literal is without its quotes.
fn end_of(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    end.expect("a literal ends")
}

/// What a literal says, with `…` for each `{…}`.
fn as_read(literal: &str) -> String {
    let mut lines = literal.split("\\\n");
    let mut joined = lines.next().unwrap_or_default().to_owned();
    lines.for_each(|line| joined.push_str(line.trim_start()));
    let joined = joined.replace("\\\"", "\"").replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut pieces = joined.split('{');
    let mut message = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        // A regular expression's count, as in `{0,62}`, is none.
        match piece.split_once('}').filter(|(name, _)| !name.contains(',')) {
            Some((_, rest)) => message.extend(["…", rest]),
            None => message.extend(["{", piece]),
        }
    }
    message.replace('\u{1}', "{").replace('\u{2}', "}")
}

impl Literal {
    /// Whether it is a message that somebody may get and that must be explained.
    fn is_due(&self) -> bool {
        let words = self.message.split(' ').filter(|word| word.chars().any(|c| c.is_ascii_lowercase()));
        if words.count() < 2 {
            return false;
        }
        if let Some(name) = &self.display_of {
            let others = ["Refusal", "Interrupted", "Exit", "Hold"];
            return name.ends_with("Error") || others.contains(&name.as_str());
        }
        let follows = |words: &[&str]| words.iter().any(|word| self.before.contains(word));
        match self.file.as_str() {
            _ if follows(&["#[error(", "log::error!(", "log::warn!(", "Failure::new("])
                || follows(&DOING) =>
            {
                true
            }
            // What no ordinary client sends.
            "gate/head.rs" | "gate/connection.rs" | "http/request.rs" => false,
            file if file.starts_with("http/") || file.starts_with("gate/") => {
                follows(&["ApiError::", "Error::custom("])
            }
            "service/jobs/registry.rs" => follows(&["end("]),
            "settings/overrides/mod.rs" | "settings/override_check.rs" => {
                follows(&["Err(", "ok_or", "constFORM"])
            }
            "cli/list/cleanup.rs" => follows(&["letrefusal="]),
            "service/scheduler/run.rs" => follows(&["letmessage="]),
            "engine/checkup.rs" => true,
            "settings/rule.rs" => follows(&["Err(", "format!(", "||"]),
            "store/catalog/name/backup.rs" | "store/catalog/name/database.rs" => follows(&["NameError("]),
            "engine/restore/error.rs" => follows(&["format!("]),
            "engine/restore/target/requirements.rs" => {
                let sql = ["provider = ", "CREATE "];
                follows(&["format!("]) && !sql.iter().any(|begin| self.message.starts_with(begin))
            }
            "engine/restore/target/making/mod.rs" => follows(&["Missing("]),
            "engine/restore/source/tied.rs" => follows(&["format!("]),
            "engine/restore/target/preflight.rs" => self.message.starts_with("role "),
            "engine/restore/target/cleanup.rs" => follows(&["letproblem="]),
            "engine/restore/target/replication.rs" => {
                follows(&["format!("]) && self.message.starts_with("role ")
            }
            "engine/restore/cluster/dump.rs" => follows(&["letmissing="]),
            "cli/health.rs" => {
                follows(&["Err(", "format!("])
                    && !["header", "Authorization"].iter().any(|word| self.message.starts_with(word))
            }
            "store/records/report.rs" => follows(&["format!("]),
            "engine/problems/clock.rs" => follows(&["format!("]) && !self.message.starts_with('\u{2026}'),
            file if file.starts_with("engine/problems/") => follows(&["format!(", "Err(", "SCHEDULER_FAILS"]),
            "settings/environment.rs" => follows(&["ok_or_else(", "format!("]),
            "delivery/telegram/test.rs" => follows(&["=>"]) && !self.before.ends_with("says("),
            file if file.starts_with("settings/") => follows(&["fault(", "missing("]),
            _ => false,
        }
    }
}

/// The messages of the page: the code in the first column of its tables.
fn explained() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let page = fs::read_to_string(page).expect("read the page");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_start_matches("| ").split(" | ").next().unwrap_or_default());
    cells.flat_map(|cell| cell.split("<br>")).map(|code| code.trim_matches('`').trim().to_owned()).collect()
}

#[test]
fn every_message_is_explained_and_every_explained_message_is_said() {
    let mut literals = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut literals);
    let said: BTreeSet<&str> = literals.iter().map(|literal| literal.message.as_str()).collect();
    let due: BTreeSet<&str> =
        literals.iter().filter(|literal| literal.is_due()).map(|literal| literal.message.as_str()).collect();
    assert!(due.len() > 150, "the scan finds {} messages only", due.len());
    let explained = explained();
    let missing: Vec<&&str> = due.iter().filter(|message| !explained.contains(**message)).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md does not explain {missing:#?}");
    let strange: Vec<&String> = explained.iter().filter(|message| !said.contains(message.as_str())).collect();
    assert!(strange.is_empty(), "nothing says what docs/troubleshooting.md explains: {strange:#?}");
}
