//! The override file: what is accepted is what a shell would read from it, and is written back unchanged.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use backupgram::settings::overrides::Overrides;
use backupgram::settings::Variable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|contents: &[u8]| {
    let lines = contents.split(|byte| *byte == b'\n').count();
    let overrides = match Overrides::parse(contents) {
        Ok(overrides) => overrides,
        Err((line, problem)) => {
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
            return assert!(!problem.is_empty() && !problem.contains(char::is_control), "{problem:?}");
        }
    };
    let text = std::str::from_utf8(contents).expect("UTF-8");
    let assignments: BTreeMap<&str, String> = text.lines().map(assignment).collect();
    assert_eq!(assignments.len(), text.lines().count(), "a key went by twice");
    for (key, value) in &assignments {
        assert!(Variable::mutable().any(|variable| variable.name == *key), "{key} is not the API's");
        assert!(!value.contains(char::is_control), "{key} has a control character in it");
        assert_eq!(overrides.get(key), Some(value.as_str()), "{key}");
    }
    let written = overrides.render();
    assert_eq!(Overrides::parse(written.as_bytes()).as_ref(), Ok(&overrides));
    // Only the order of the lines may be another.
    assert_eq!(written.lines().collect::<BTreeSet<_>>(), text.lines().collect::<BTreeSet<_>>());
    // What was written through the API could have been asked for through it.
    let changes = assignments.into_iter().map(|(key, value)| (key.to_owned(), Some(value))).collect();
    assert_eq!(Overrides::default().changed(&changes).as_ref(), Ok(&overrides));
});

/// A line as a POSIX shell reads it: an export of one word, made of single-quoted strings and `\'`.
fn assignment(line: &str) -> (&str, String) {
    let (key, word) = line.strip_prefix("export ").and_then(|rest| rest.split_once('=')).expect("an export");
    assert!(key.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{key:?} is no name");
    let mut value = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("\\'") {
            value.push('\'');
            rest = after;
        } else {
            let quoted = rest.strip_prefix('\'').expect("nothing outside of quotes");
            let (inside, after) = quoted.split_once('\'').expect("a closing quote");
            value.push_str(inside);
            rest = after;
        }
    }
    (key, value)
}
