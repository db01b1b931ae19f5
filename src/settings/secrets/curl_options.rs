//! Options for curl in settings: which ones an override may contain, and which hold credentials.

use super::redactor::MASK;
use super::url::{masked_url, userinfo};
use crate::settings::words::split_words;
use crate::util::curl::quote;

/// Short options of curl that take a value, possibly without a space.
const WITH_VALUE: &str = "AbcCdDeEFhHKmoPQrtTuUwxXyYz";

/// Options of curl that an override may contain, and whether they take a value.
pub(crate) const TRUSTED: [(&str, bool); 14] = [
    ("-H", true),
    ("--header", true),
    ("-A", true),
    ("-m", true),
    ("--max-time", true),
    ("--connect-timeout", true),
    ("--retry", true),
    ("--retry-delay", true),
    ("-u", true),
    ("-4", false),
    ("-6", false),
    ("-k", false),
    ("-s", false),
    ("-S", false),
];

/// Options whose value is a header field.
const HEADERS: [&str; 3] = ["-H", "--header", "--proxy-header"];
/// Header fields that are not secret.
const OPEN_HEADERS: [&str; 3] = ["content-type", "accept", "expect"];
/// Options whose value is a URL or host, possibly with a user and password.
const PROXIES: [&str; 7] =
    ["-x", "--proxy", "--preproxy", "--socks4", "--socks4a", "--socks5", "--socks5-hostname"];
/// Options whose value is a number or method. The values of all other options are masked.
const HARMLESS: [&str; 15] = [
    "-m",
    "--max-time",
    "--connect-timeout",
    "--retry",
    "--retry-delay",
    "--retry-max-time",
    "--max-redirs",
    "--limit-rate",
    "--speed-limit",
    "-Y",
    "--speed-time",
    "-y",
    "--tls-max",
    "-X",
    "--request",
];

/// The options with a mask for every value that may be or contain a credential.
pub(super) fn masked(text: &str) -> String {
    let Ok(words) = split_words(text) else { return MASK.into() };
    let shown: Vec<String> = read(&words).iter().map(|word| word.show(|_| MASK.to_owned())).collect();
    match shown == words {
        true => text.to_owned(),
        false => shell_words::join(shown),
    }
}

/// Every such value, and the secret part of it.
pub(super) fn credentials(text: &str) -> Vec<String> {
    let words = split_words(text).unwrap_or_else(|_| text.split_whitespace().map(String::from).collect());
    let mut found = Vec::new();
    for word in read(&words) {
        word.show(|secret| {
            found.push(secret.to_owned());
            // The last part of `Bearer TOKEN` or `user:password`.
            let ends = [secret.rsplit_once(' '), secret.split_once(':')].into_iter().flatten();
            found.extend(ends.map(|(_, end)| end.trim().to_owned()));
            String::new()
        });
    }
    found
}

/// A word, split into option and value.
struct Word<'a> {
    /// The option that the value belongs to.
    option: &'a str,
    /// The option in this word, and what joins it with the value; empty if the word is a value only.
    head: &'a str,
    /// The value, or the part of it in this word.
    value: &'a str,
}

fn read(words: &[String]) -> Vec<Word<'_>> {
    let (mut option, mut wants_value) = ("", false);
    let mut read = Vec::new();
    for word in words {
        if wants_value || !word.starts_with('-') || word == "-" {
            wants_value = false;
            read.push(Word { option, head: "", value: word });
            continue;
        }
        let (head, value) = word.split_at(end_of_option(word));
        let joint = value.len() - value.trim_start_matches(['=', ':', ' ']).len();
        let joint = if word.starts_with("--") { joint } else { 0 };
        option = head;
        wants_value = value.is_empty() && takes_next_word(word);
        read.push(Word { option, head: &word[..head.len() + joint], value: &value[joint..] });
    }
    read
}

impl Word<'_> {
    /// The word as it may be shown; the secret in it is replaced by the result of `cover`.
    fn show(&self, cover: impl FnOnce(&str) -> String) -> String {
        let Self { option, head, value } = self;
        // In a group of short options the last one takes the value.
        let last = match option.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
            Some(letters) => letters.chars().next_back().map(|letter| format!("-{letter}")),
            None => Some((*option).to_owned()),
        };
        let last = last.as_deref().unwrap_or_default();
        if value.is_empty() || HARMLESS.contains(&last) {
            return format!("{head}{value}");
        }
        if PROXIES.contains(&last) {
            userinfo(value).map(cover);
            return format!("{head}{}", masked_url(value));
        }
        let field = value.split_once(':').filter(|_| HEADERS.contains(&last) && !value.starts_with('@'));
        match field {
            Some((name, content)) if content.trim().is_empty() || is_open(name) => format!("{head}{value}"),
            Some((name, content)) => format!("{head}{name}: {}", cover(content.trim())),
            None if HEADERS.contains(&last) && value.ends_with(';') => format!("{head}{value}"),
            None => format!("{head}{}", cover(value)),
        }
    }
}

fn is_open(header: &str) -> bool {
    OPEN_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(header.trim()))
}

/// The end of the option in a word, where an attached value starts.
fn end_of_option(word: &str) -> usize {
    if word.starts_with("--") {
        // In curl's configuration syntax these may separate an option and its value.
        return word.find(|c: char| c == '=' || c == ':' || c.is_whitespace()).unwrap_or(word.len());
    }
    let letters = word.char_indices().skip(1);
    let taker = letters.into_iter().find(|(_, letter)| WITH_VALUE.contains(*letter));
    taker.map_or(word.len(), |(at, letter)| at + letter.len_utf8())
}

/// The options as lines of a curl configuration file, each option with its value.
pub(crate) fn config_lines(options: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut wants_value = false;
    for word in options {
        if wants_value || !word.starts_with('-') {
            if let Some(line) = lines.last_mut() {
                line.push(' ');
                line.push_str(&quote(word));
            }
            wants_value = false;
            continue;
        }
        let attached = word.char_indices().nth(2).map(|(at, _)| word.split_at(at));
        match attached {
            Some((option, value))
                if !word.starts_with("--") && option.ends_with(|c| WITH_VALUE.contains(c)) =>
            {
                lines.push(format!("{option} {}", quote(value)));
            }
            _ => {
                wants_value = takes_next_word(word);
                lines.push(word.clone());
            }
        }
    }
    lines
}

/// Whether the next word is the value of this option, whatever it looks like. Only those long options are known that
/// an override may contain; their value must not become an unchecked option.
fn takes_next_word(option: &str) -> bool {
    let short = option.len() == 2 && option.ends_with(|c| WITH_VALUE.contains(c));
    short || trusted(option) == Some(true)
}

/// Whether an option allowed in overrides takes a value; `None` for other options.
fn trusted(option: &str) -> Option<bool> {
    TRUSTED.iter().find(|(known, _)| *known == option).map(|(_, has_value)| *has_value)
}

/// Checks that options in an override cannot read or write a file, nor redirect the request.
///
/// # Errors
/// When an option is not known to be harmless, or a value starts with `@`. The message has no value, which may be a
/// secret.
pub fn check_trusted_options(text: &str) -> Result<(), String> {
    let mut words = split_words(text)?.into_iter();
    while let Some(word) = words.next() {
        let option = without_value(&word);
        let short = word.get(..2).filter(|_| !word.starts_with("--"));
        let value = match (trusted(&word), short.and_then(trusted)) {
            (Some(true), _) => words.next().ok_or_else(|| format!("has no value for {word}"))?,
            (Some(false), _) => continue,
            (None, Some(true)) => word[2..].to_owned(),
            // A group of flags without values.
            (None, Some(false)) if word[1..].chars().all(is_trusted_flag) => continue,
            _ => return Err(format!("must not contain {option} when it is set through the API")),
        };
        if value.starts_with('@') {
            return Err(format!("must not name a file for {option} when it is set through the API"));
        }
    }
    Ok(())
}

fn is_trusted_flag(letter: char) -> bool {
    trusted(&format!("-{letter}")) == Some(false)
}

/// The option in a word, without an attached value, for messages.
pub(crate) fn without_value(word: &str) -> &str {
    match word.strip_prefix('-') {
        None | Some("") => "a word without an option",
        Some(long) if long.starts_with('-') => &word[..end_of_option(word)],
        Some(letters) => {
            let stranger = letters.char_indices().find(|(_, letter)| !is_trusted_flag(*letter));
            stranger.map_or(word, |(at, letter)| &word[..1 + at + letter.len_utf8()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_lines_of_a_configuration() {
        let words =
            ["-H", "X: a\"b\\c", "-k", "-mx", "--retry", "3", "-u", "-dash", "-HA: b"].map(String::from);
        let lines =
            ["-H \"X: a\\\"b\\\\c\"", "-k", "-m \"x\"", "--retry \"3\"", "-u \"-dash\"", "-H \"A: b\""];
        assert_eq!(config_lines(&words), lines);
    }

    #[test]
    fn what_may_be_a_credential_is_not_shown_and_what_cannot_is() {
        for (text, shown) in [
            ("", ""),
            ("-m 5   -k", "-m 5   -k"),
            ("-H 'X-Key: T0KEN'", "-H 'X-Key: ***'"),
            ("-H'Authorization: Bearer T0KEN' -k", "'-HAuthorization: ***' -k"),
            ("--header=X:T0KEN", "'--header=X: ***'"),
            (
                "--header 'Content-Type: text/plain' -H X: -H 'X;'",
                "--header 'Content-Type: text/plain' -H X: -H 'X;'",
            ),
            ("-H @/run/secrets/T0KEN", "-H '***'"),
            ("-u me:T0KEN", "-u '***'"),
            ("-ume:T0KEN", "'-u***'"),
            ("-kume:T0KEN -sS", "'-ku***' -sS"),
            ("-ku me:T0KEN", "-ku '***'"),
            ("--user -T0KEN", "--user '-T***'"),
            ("-u -T0KEN:x", "-u '***'"),
            (
                "--proxy-user a:T0KEN --proxy http://b:T0KEN@p:1 -x p:2",
                "--proxy-user '***' --proxy 'http://***@p:1' -x p:2",
            ),
            ("-x b:T0KEN@p:1", "-x '***@p:1'"),
            (
                "--oauth2-bearer T0KEN -b a=T0KEN --pass T0KEN -E /x:T0KEN",
                "--oauth2-bearer '***' -b '***' --pass '***' -E '***'",
            ),
            ("--url http://h/T0KEN http://h/T0KEN", "--url '***' '***'"),
            ("--next-new-option T0KEN -d T0KEN -A T0KEN", "--next-new-option '***' -d '***' -A '***'"),
            ("--retry 3 --retry-delay=2 -X POST", "--retry 3 --retry-delay=2 -X POST"),
            ("-H 'T0KEN", "***"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
            assert!(!masked(text).contains("T0KEN"), "{text}");
        }
    }

    #[test]
    fn credentials_are_known_as_a_whole_and_by_the_secret_in_them() {
        let found =
            credentials("-H 'Authorization: Bearer T0KEN-1' -u me:T0KEN-2 -m 5 -x http://u:T0KEN-3@p");
        for secret in ["Bearer T0KEN-1", "T0KEN-1", "me:T0KEN-2", "T0KEN-2"] {
            assert!(found.iter().any(|text| text == secret), "{secret}: {found:?}");
        }
        assert!(found.iter().any(|text| text.contains("T0KEN-3")), "{found:?}");
        assert!(found.iter().all(|text| text != "5"));
        // Options that break the rule may still hold a credential.
        assert!(credentials("-H 'X: T0KEN").iter().any(|text| text.contains("T0KEN")));
    }

    #[test]
    fn what_an_override_may_not_have_is_named_without_its_value() {
        for (text, named) in [
            ("-dT0KEN", "-d "),
            ("--data=T0KEN", "--data "),
            ("'--header X: T0KEN'", "--header "),
            ("-koT0KEN", "-ko "),
            ("-H@T0KEN", "-H "),
            ("-H @T0KEN", "-H "),
            ("http://elsewhere/T0KEN", "a word without an option "),
        ] {
            let problem = check_trusted_options(text).unwrap_err();
            assert!(problem.contains(named) && !problem.contains("T0KEN"), "{text}: {problem}");
        }
    }

    #[test]
    fn what_an_override_gives_an_option_as_its_value_is_no_option_to_curl() {
        for (option, has_value) in TRUSTED.into_iter().filter(|(_, has_value)| *has_value) {
            assert_eq!(check_trusted_options(&format!("{option} -d@/x")), Ok(()), "{has_value}");
            let words = [option, "-d@/x", "-k"].map(String::from);
            assert_eq!(config_lines(&words), [format!("{option} \"-d@/x\""), "-k".to_owned()]);
        }
    }
}
