//! Webhooks: a message about a run by curl. The URL, which may carry a token, and the user's curl options go to
//! curl's standard input and never to its arguments.

use std::iter;
use std::time::Duration;

use jiff::Timestamp;

use super::event::Event;
use super::message::{Content, Message};
use crate::delivery::hostname::hostname;
use crate::settings::{Notices, Redactor, Secret, config_lines, without_value};
use crate::system::curl::{Curl, could_not_run};
use crate::system::process::{Output, ProgramError, Runner};

/// How long all attempts at one webhook may take, whatever the user's options say.
const LONGEST: Duration = Duration::from_secs(30);

/// What every webhook's curl is told. It is not silent, which would keep its warnings back. A receiver that is being
/// started anew refuses connections for a moment, so curl tries again.
const ARGUMENTS: [&str; 13] = [
    "--no-progress-meter",
    "--fail",
    "--output",
    "/dev/null",
    "--connect-timeout",
    "5",
    "--max-time",
    "10",
    "--retry",
    "2",
    "--retry-max-time",
    "20",
    "--retry-connrefused",
];

/// Why a webhook was not sent, or not as it should be.
struct Problem {
    said: String,
    /// Whether curl could not be started, as without memory.
    is_want_of_room: bool,
}

impl From<String> for Problem {
    fn from(said: String) -> Self {
        Self { said, is_want_of_room: false }
    }
}

/// Sends an event to its webhooks: the end of a run to the general one, and each event to its own. Answers whether curl
/// could be started.
pub fn tell(notices: &Notices, event: &Event, runner: &Runner) -> bool {
    let (general, own) = match event {
        // The general webhook may feed a watchdog, for which the start of a run that then hangs must not count.
        Event::Started { .. } => (&None, &notices.webhook_pre_backup),
        Event::Succeeded { .. } => (&notices.webhook, &notices.webhook_post_backup),
        Event::Failed { .. } => (&notices.webhook, &notices.webhook_error),
    };
    let message = Message { event, hostname: hostname(), time: Timestamp::now(), project: &notices.project };
    let (content, status) = (message.content(notices.format), event.status());
    let _doing = runner.activity().begin(format!("webhook for {status}"));
    let mut has_room = true;
    for url in [general, own].into_iter().flatten() {
        if let Err(Problem { said, is_want_of_room }) = send(url, &content, &notices.curl_options, runner) {
            log::warn!("webhook for {status}: {said}");
            has_room &= !is_want_of_room;
        }
    }
    has_room
}

fn send(url: &Secret, content: &Content, options: &[String], runner: &Runner) -> Result<(), Problem> {
    let curl = Curl::default().lines(config_lines(options)).url(url.expose());
    let headers = content.headers.iter();
    let curl = headers.fold(curl, |curl, (name, value)| curl.header(name, value));
    let (mut command, config) = curl.setting("data-binary", &content.body).command(&ARGUMENTS);
    let program = runner.program(&mut command).input(config.as_bytes()).time_limit(LONGEST);
    let output = program.keep_lines(is_curls_word).output();
    let Output { exit, stderr, .. } = output.map_err(|error| Problem {
        is_want_of_room: matches!(error, ProgramError::Start(..)),
        said: error.to_string(),
    })?;
    let mut said: Vec<&str> = if exit.success() {
        stderr.lines().filter_map(complaint).collect()
    } else {
        stderr.lines().map(|line| complaint(line).unwrap_or(line)).collect()
    };
    // Most attempts print the same line.
    said.dedup();
    let said = Redactor::new(&secrets(url, options)).clean(&said.join(" | "));
    match exit.success() {
        true if said.is_empty() => Ok(()),
        true => {
            Err(format!("sent, but without an option of WEBHOOK_EXTRA_ARGS that curl rejects: {said}").into())
        }
        false => Err(Problem {
            is_want_of_room: could_not_run(exit),
            said: ProgramError::Failed("curl".into(), exit, said).to_string(),
        }),
    }
}

/// Whether a line is curl's error or a complaint about its configuration. With the user's options curl may print other
/// lines, with URLs and headers in them.
fn is_curls_word(line: &str) -> bool {
    line.starts_with("curl: (") || complaint(line).is_some()
}

/// The complaint in a line about an option, which curl then ignores.
fn complaint(line: &str) -> Option<&str> {
    let (_, complaint) = line.strip_prefix("Warning: <stdin>:")?.split_once("warning: ")?;
    Some(complaint)
}

/// A part of a URL or of a value with at least so many bytes may be a token. Masking shorter ones would hide curl's own
/// words.
const SHORTEST_TOKEN: usize = 6;

/// What is masked in curl's output: the URL without its host, and the values of the user's options, whole and in parts.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
