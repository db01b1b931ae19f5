//! Webhooks: a JSON object by curl. The URL, which may carry a token, and the user's curl options go to
//! curl's standard input and never to its arguments.

use std::iter;
use std::process::Command;
use std::time::Duration;

use jiff::Zoned;
use serde::Serialize;

use super::Event;
use crate::curl::quote;
use crate::process::{Output, ProgramError, Runner};
use crate::settings::{Notices, Redactor, Secret, split_words};

#[derive(Serialize)]
struct Message<'a> {
    status: &'a str,
    hostname: String,
    timestamp: String,
    database: String,
    project: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// How long all attempts at one webhook may take, whatever the user's options say.
const LONGEST: Duration = Duration::from_secs(30);

/// Sends an event to every webhook that wants it.
pub fn tell(notices: &Notices, event: &Event, runner: &Runner) {
    let (status, databases, error, own) = match event {
        Event::Started { databases } => ("started", databases, None, &notices.webhook_pre_backup),
        Event::Succeeded { databases } => ("success", databases, None, &notices.webhook_post_backup),
        Event::Failed { error, databases } => ("failure", databases, Some(*error), &notices.webhook_error),
    };
    let message = Message {
        status,
        hostname: nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
        timestamp: Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        database: databases.join(", "),
        project: &notices.project,
        error,
    };
    for url in [&notices.webhook, own].into_iter().flatten() {
        if let Err(problem) = send(url, &message, &notices.curl_options, runner) {
            log::warn!("webhook for {status}: {problem}");
        }
    }
}

fn send(url: &Secret, message: &Message, options: &[String], runner: &Runner) -> Result<(), String> {
    let body = serde_json::to_string(message).map_err(|error| error.to_string())?;
    let mut config = config_lines(options);
    config.push(format!("url = {}", quote(url.expose())));
    config.push("header = \"Content-Type: application/json\"".into());
    config.push(format!("data-binary = {}", quote(&body)));
    let mut curl = Command::new("curl");
    // Not silent, which would keep its warnings back.
    curl.args(["--disable", "--no-progress-meter", "--fail", "--output", "/dev/null"]);
    curl.args(["--connect-timeout", "5", "--max-time", "10"]);
    // A receiver that is being started anew refuses connections for a moment.
    curl.args(["--retry", "2", "--retry-max-time", "20", "--retry-connrefused"]);
    curl.args(["--config", "-"]);
    let output = runner.run_briefly(&mut curl, config.join("\n").as_bytes(), LONGEST, is_curls_word);
    let Output { exit, stderr, .. } = output.map_err(|error| error.to_string())?;
    let mut said: Vec<&str> = match exit.success() {
        true => stderr.lines().filter_map(complaint).collect(),
        false => stderr.lines().map(|line| complaint(line).unwrap_or(line)).collect(),
    };
    // Each attempt says the same mostly.
    said.dedup();
    let said = Redactor::new(&secrets(url, options)).clean(&said.join(" | "));
    match exit.success() {
        true if said.is_empty() => Ok(()),
        true => Err(format!("sent, but not as WEBHOOK_EXTRA_ARGS has it: {said}")),
        false => Err(ProgramError::Failed("curl".into(), exit, said).to_string()),
    }
}

/// Whether a line is why curl failed, or a complaint about its configuration. What else it may say when the user's
/// options make it talkative has URLs and headers in it.
fn is_curls_word(line: &str) -> bool {
    line.starts_with("curl: (") || complaint(line).is_some()
}

/// What a line says is wrong with an option, which curl then does without.
fn complaint(line: &str) -> Option<&str> {
    let (_, complaint) = line.strip_prefix("Warning: <stdin>:")?.split_once("warning: ")?;
    Some(complaint)
}

/// From this many bytes on a part of a URL or of a value may be a token. Shorter ones would blot out words of curl's.
const SHORTEST_TOKEN: usize = 6;

/// What must not be seen in what curl says: the URL but for its host, and the values of the user's options, whole and
/// in parts.
fn secrets(url: &Secret, options: &[String]) -> Vec<Secret> {
    let url = url.expose();
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
    let (authority, path) = after_scheme.split_at(end);
    let userinfo = authority.rsplit_once('@').map_or("", |(userinfo, _)| userinfo);
    let values = options.iter().map(|word| word.strip_prefix(without_value(word)).unwrap_or(word));
    let separates = |c: char| c.is_whitespace() || "/?#&=:;,@".contains(c);
    let texts = [userinfo, path].into_iter().chain(values);
    let parts = texts.flat_map(|text| iter::once(text).chain(text.split(separates)));
    let parts = parts.filter(|part| part.len() >= SHORTEST_TOKEN);
    iter::once(url).chain(parts).map(Secret::new).collect()
}

/// Short options of curl that take a value, which may follow without a space.
const WITH_VALUE: &str = "AbcCdDeEFhHKmoPQrtTuUwxXyYz";

/// The user's options as lines of a curl configuration: each option with its value, if one follows.
fn config_lines(options: &[String]) -> Vec<String> {
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

/// Whether the next word is this option's value, whatever it looks like. Of the long options only those are
/// known that an override may have: there a value must not become an option that nobody has judged.
fn takes_next_word(option: &str) -> bool {
    let short = option.len() == 2 && option.ends_with(|c| WITH_VALUE.contains(c));
    short || trusted(option) == Some(true)
}

/// Options of curl that an override may have, with whether they take a value.
const TRUSTED: [(&str, bool); 14] = [
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

/// Whether an option that an override may have takes a value; nothing for any other.
fn trusted(option: &str) -> Option<bool> {
    TRUSTED.iter().find(|(known, _)| *known == option).map(|(_, has_value)| *has_value)
}

/// Sees that options from an override can neither read nor write a file nor send anything elsewhere.
///
/// # Errors
/// When there is another option than those that are known to be harmless, or a value begins with `@`. No value is
/// told, which may be a secret.
pub fn check_trusted_options(text: &str) -> Result<(), String> {
    let mut words = split_words(text)?.into_iter();
    while let Some(word) = words.next() {
        let option = without_value(&word);
        let short = word.get(..2).filter(|_| !word.starts_with("--"));
        let value = match (trusted(&word), short.and_then(trusted)) {
            (Some(true), _) => words.next().ok_or_else(|| format!("has no value for {word}"))?,
            (Some(false), _) => continue,
            (None, Some(true)) => word[2..].to_owned(),
            // Several flags in one word, none of which takes a value.
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

/// What a word asks of curl, without the value that may be attached to it.
fn without_value(word: &str) -> &str {
    match word.strip_prefix('-') {
        None | Some("") => "a word without an option",
        Some(long) if long.starts_with('-') => {
            // A line of curl's configuration may have these between an option and its value.
            let end = word.find(|c: char| c == '=' || c == ':' || c.is_whitespace());
            &word[..end.unwrap_or(word.len())]
        }
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
    fn what_curl_says_of_a_url_or_an_option_has_no_part_of_it_but_the_host() {
        let url = Secret::new("https://user:passw0rd@hooks.example.org:8443/T0KEN-1/x?key=T0KEN-2");
        let options = ["-HX-Key: T0KEN-3", "--header", "Authorization: Bearer T0KEN-4", "-mT0KEN-5", "-L"];
        let redactor = Redactor::new(&secrets(&url, &options.map(String::from)));
        let said = "passw0rd hooks.example.org:8443 T0KEN-1 x T0KEN-2 T0KEN-3 T0KEN-4 T0KEN-5 -L";
        assert_eq!(redactor.clean(said), "*** hooks.example.org:8443 *** x *** *** *** *** -L");
        assert_eq!(redactor.clean(url.expose()), "***");
        for line in [
            "curl: (22) The requested URL returned error: 404",
            "Warning: <stdin>:1: warning: '--x' is unknown",
        ] {
            assert!(is_curls_word(line), "{line}");
        }
        assert!(!is_curls_word("* Issue another request to this URL: 'http://nosuch.invalid/T0KEN'"));
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
