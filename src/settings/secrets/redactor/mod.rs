//! Removes secrets from output: replaces them by `***`, also when quoted by a shell, URL-encoded or in base64.

mod forms;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::secret::Secret;
use forms::{Forms, View};

/// Replaces a secret.
pub const MASK: &str = "***";

/// Minimum length in bytes for the start of a secret at the end of an output to be taken for a cut-off secret.
const TELLING: usize = 6;

/// How long secrets read from the settings are considered current. Secret files may change while programs run.
const FRESH: Duration = Duration::from_secs(1);

/// Replaces every known secret in a text by `***`. Clones share the known secrets.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    forms: Forms,
    /// Reads the secrets of the settings, if there are others than those passed to [`Redactor::learn`].
    source: Option<fn() -> Vec<Secret>>,
    asked: Option<Instant>,
}

impl Redactor {
    /// A redactor for these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let redactor = Self::default();
        redactor.learn(secrets);
        redactor
    }

    /// A redactor that reads the secrets again if they are more than a second old.
    pub(crate) fn with_source(source: fn() -> Vec<Secret>) -> Self {
        let known = Known { source: Some(source), ..Known::default() };
        Self { known: Arc::new(RwLock::new(known)) }
    }

    /// Adds secrets. Each line of a multi-line secret is searched for separately, because output is processed by line.
    pub fn learn<'a>(&self, secrets: impl IntoIterator<Item = &'a Secret>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for line in secrets.into_iter().flat_map(|secret| secret.expose().lines()) {
            known.forms.add(line);
        }
    }

    /// Reads the secrets of the settings again if they are not current.
    pub fn refresh(&self) {
        let source = {
            let known = self.read();
            let is_fresh = known.asked.is_some_and(|asked| asked.elapsed() < FRESH);
            known.source.filter(|_| !is_fresh)
        };
        if let Some(source) = source {
            self.learn(&source());
            self.known.write().unwrap_or_else(PoisonError::into_inner).asked = Some(Instant::now());
        }
    }

    /// Makes the next [`Self::refresh`] read the secrets in any case, because a settings change is about to be read.
    pub fn expire(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).asked = None;
    }

    /// The line without secrets, and with `$BACKUP_DIR` for the path of that directory: the API does not show paths in
    /// the container.
    pub fn clean_for_api(&self, line: &str, directory: &Path) -> String {
        let line = self.clean(line);
        match directory.to_str() {
            Some(path) if path.len() > 1 => line.replace(path.trim_end_matches('/'), "$BACKUP_DIR"),
            _ => line,
        }
    }

    /// The text without secrets.
    pub fn clean(&self, text: &str) -> String {
        match self.found(text.as_bytes()) {
            found if found.is_empty() => text.to_owned(),
            found => String::from_utf8_lossy(&without(text.as_bytes(), &found)).into_owned(),
        }
    }

    /// Like [`Self::clean`], for bytes that may not be text.
    pub fn clean_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        without(bytes, &self.found(bytes))
    }

    /// Like [`Self::clean_bytes`], for the end of an output, where a secret may be cut off.
    pub fn clean_end(&self, bytes: &[u8]) -> Vec<u8> {
        let mut found = self.found(bytes);
        let rest = found.last().map_or(0, |last| last.end);
        let begun = rest + self.begun(&bytes[rest..]);
        if bytes.len() - begun >= TELLING {
            found.push(begun..bytes.len());
        }
        without(bytes, &found)
    }

    /// The position where a secret may start that is incomplete at the end; the length of `bytes` if there is none.
    pub fn begun(&self, bytes: &[u8]) -> usize {
        let whole = forms::without_torn_escape(bytes);
        let known = self.read();
        let begun = View::ALL.iter().filter_map(|view| known.forms.begun(*view, whole)).min();
        begun.unwrap_or(bytes.len()).min(whole.len())
    }

    /// Where to cut the bytes: at `most`, or at the end of a complete secret that this would split. Bytes after `most`
    /// are considered too.
    pub fn seam(&self, bytes: &[u8], most: usize) -> usize {
        let cut = |found: &Range<usize>| found.start < most && found.end > most;
        self.found(bytes).into_iter().find(cut).map_or(most, |found| found.end)
    }

    /// Maximum length of a secret in any encoding, in bytes.
    pub fn longest(&self) -> usize {
        self.read().forms.longest()
    }

    /// The positions of secrets, sorted and not overlapping.
    fn found(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let known = self.read();
        let mut found: Vec<Range<usize>> =
            View::ALL.iter().flat_map(|view| known.forms.find(*view, bytes)).collect();
        found.sort_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without(bytes: &[u8], found: &[Range<usize>]) -> Vec<u8> {
    let (mut clean, mut rest) = (Vec::with_capacity(bytes.len()), 0);
    for range in found {
        clean.extend_from_slice(&bytes[rest..range.start]);
        clean.extend_from_slice(MASK.as_bytes());
        rest = range.end;
    }
    clean.extend_from_slice(&bytes[rest..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(&secrets.iter().map(|secret| Secret::new(*secret)).collect::<Vec<_>>())
    }

    #[test]
    fn the_longer_of_two_nested_secrets_is_replaced_whole() {
        let redactor = redactor(&["abc", "abcdef", ""]);
        assert_eq!(redactor.clean("x abcdef y abc z"), "x *** y *** z");
        redactor.clone().learn(&[Secret::new("x")]);
        assert_eq!(redactor.clean("x abc"), "*** ***");
    }

    #[test]
    fn of_two_secrets_that_overlap_nothing_is_left_and_stars_are_not_replaced_again() {
        assert_eq!(redactor(&["abcdef", "defghi"]).clean("-abcdefghi-"), "-***-");
        assert_eq!(redactor(&["*", "abc"]).clean("abc *"), "*** ***");
    }

    #[test]
    fn a_secret_of_several_lines_is_found_line_by_line() {
        let redactor = redactor(&["-----BEGIN-----\nMIIB0123\n-----END-----\n"]);
        assert_eq!(redactor.clean("+ MIIB0123 +"), "+ *** +");
    }

    #[test]
    fn however_a_shell_quotes_a_secret_it_is_found() {
        let redactor = redactor(&["it's \"a\" pass$word\\"]);
        for written in [
            "it's \"a\" pass$word\\",
            "it'\\''s \"a\" pass$word\\",
            "it'\"'\"'s \"a\" pass$word\\",
            "it\\'s\\ \\\"a\\\"\\ pass\\$word\\\\",
            "it's \\\"a\\\" pass\\$word\\\\",
            "it\\047s \\042a\" pass$word\\134",
            "it\\u0027s \\u0022a\" pass$word\\\\",
        ] {
            let clean = redactor.clean(&format!("+ PASSWORD='{written}' x"));
            assert!(clean.starts_with("+ PASSWORD='***") && clean.ends_with("' x"), "{written}: {clean}");
            assert!(!clean.contains("it") && !clean.contains("word\\"), "{written}: {clean}");
        }
    }

    #[test]
    fn what_is_no_ascii_is_found_as_shells_and_json_write_it() {
        let redactor = redactor(&["p\u{e4}ss\\123w\u{f6}rd"]);
        for written in
            ["p\u{e4}ss\\123w\u{f6}rd", "p\\303\\244ss\\\\123w\\303\\266rd", "p\\u00e4ss\\\\123w\\u00F6rd"]
        {
            assert_eq!(redactor.clean(&format!("$'{written}'")), "$'***'", "{written}");
        }
    }

    #[test]
    fn a_secret_in_a_url_is_found_whatever_of_it_is_encoded() {
        let redactor = redactor(&["p@ss w/rd+\u{e9}"]);
        for written in [
            "p%40ss%20w%2Frd%2B%C3%A9",
            "p%40ss%20w%2frd%2b%c3%a9",
            "p%40ss+w%2Frd%2B%C3%A9",
            "p@ss%20w/rd+é",
        ] {
            assert_eq!(redactor.clean(&format!("//u:{written}@h/%zz%")), "//u:***@h/%zz%", "{written}");
        }
    }

    #[test]
    fn a_secret_in_base64_is_found_whatever_stands_before_it() {
        let redactor = redactor(&["correct horse battery"]);
        for encoded in [
            "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5",
            "dTpjb3JyZWN0IGhvcnNlIGJhdHRlcnk=",
            "dXNlcm5hbWU6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5",
            "dXM6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5Cg==",
            "YTpjb3JyZWN0IGhvcnNlIGJhdHRlcnkK",
            "YWI6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IGFuZCBtb3Jl",
        ] {
            let clean = redactor.clean(&format!("Authorization: Basic {encoded}"));
            assert!(clean.contains("***") && !clean.contains("3JzZSB"), "{encoded}: {clean}");
        }
    }

    #[test]
    fn short_secrets_are_looked_for_as_they_are_only() {
        let redactor = redactor(&["a'b"]);
        assert_eq!(redactor.clean("a'b ab YSdi \"a\" b"), "*** ab YSdi \"a\" b");
        // Masks within words would reveal the letter they replace.
        assert_eq!(self::redactor(&["a"]).clean("A=a;b 'a' a_b banana"), "A=***;b '***' a_b banana");
        assert_eq!(self::redactor(&["short"]).clean("is shorter, but not short"), "is shorter, but not ***");
    }

    #[test]
    fn where_a_secret_has_begun_is_known_in_every_form() {
        let redactor = redactor(&["s3cr et'0123456789"]);
        for (bytes, begun) in [
            ("abc s3cr", 4),
            ("abc s", 4),
            ("abc x", 5),
            ("s3cr%20e", 0),
            ("x s3cr%2", 2),
            ("x 's3cr et'\\''01", 3),
            ("", 0),
            ("x%", 1),
            ("x\\", 1),
            ("x s3cr et\\04", 2),
            ("x s3cr\\u00", 2),
        ] {
            assert_eq!(redactor.begun(bytes.as_bytes()), begun, "{bytes}");
        }
        assert_eq!(redactor.clean_end(b"x s3cr et'01"), b"x ***");
        assert_eq!(redactor.clean_end(b"x s3c"), b"x s3c");
    }

    #[test]
    fn no_whole_secret_is_cut() {
        let redactor = redactor(&["0123456789"]);
        assert_eq!(redactor.seam(b"ab0123456789cd", 5), 12);
        assert_eq!(redactor.seam(b"ab0123456789cd", 2), 2);
        assert!(redactor.longest() >= 30);
    }
}
