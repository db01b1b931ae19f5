//! Rules for the form of values, applied wherever a value comes in.

use super::words::{check_text, split_words};
use std::net::IpAddr;
use std::time::Duration;

use crate::formats::schedule::Schedule;
use crate::settings::DumpOptions;
use crate::store::catalog::{DatabaseName, Suffix};

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Anything without control characters.
    Text,
    /// TRUE or FALSE, in any case.
    Flag,
    /// A whole number that fits 31 bits, leading zeros allowed.
    Whole,
    /// A whole number of at least 1.
    Count,
    /// A whole number, or empty for no limit.
    Keep,
    /// A duration: a whole number with `s`, `m`, `h`, `d` or `w`.
    Span,
    /// A duration, or 0 for no limit.
    Limit,
    /// Hours, with fractions; 0 for no limit.
    Hours,
    /// A TCP port to listen on, 0 for none.
    Port,
    /// A TCP port to connect to; also `tcp://HOST:PORT`, as container links and Kubernetes set it.
    ServerPort,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// A cron expression that has a next run.
    Schedule,
    /// An http or https URL with a host.
    Url,
    /// Database names separated by commas or white space, in quotes if they contain such.
    DatabaseNames,
    /// The suffix of a backup's file name.
    Suffix,
    /// Options for pg_dump, split into words like a shell.
    DumpOptions,
    /// Text that fits in an HTTP header field unchanged. No client could send any other token.
    Token,
    /// Text that gpg accepts as a passphrase.
    Passphrase,
    /// Options for curl, split into words like a shell.
    CurlOptions,
    /// An IP address.
    Address,
}

impl Rule {
    /// Checks a value.
    ///
    /// # Errors
    /// What the value must be, as the end of a sentence that starts with the variable; without the value if it could
    /// be a secret.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Text => check_text(text),
            Self::Flag => parse_flag(text).map(drop),
            Self::Whole => parse_whole(text).map(drop),
            Self::Count => parse_count(text).map(drop),
            Self::Keep => parse_keep(text).map(drop),
            Self::Span => parse_span(text).map(drop),
            Self::Limit => parse_limit(text).map(drop),
            Self::Hours => parse_hours(text).map(drop),
            Self::Port => parse_port(text).map(drop),
            Self::ServerPort => parse_server_port(text).map(drop),
            Self::OneOf(words) => parse_word(text, words).map(drop),
            Self::Schedule => {
                Schedule::parse(text).map(drop).map_err(|error| format!("is not valid: {error}"))
            }
            Self::Url => check_url(text),
            Self::DatabaseNames => {
                DatabaseName::parse_list(text).map(drop).map_err(|error| error.to_string())
            }
            Self::Suffix => Suffix::parse(text).map(drop).map_err(|error| error.to_string()),
            // Which program they are for depends on another variable.
            Self::DumpOptions => DumpOptions::parse(text)
                .or_else(|error| DumpOptions::parse_for_server(text).map_err(|_| error))
                .map(drop)
                .map_err(|error| error.to_string()),
            Self::Token => match is_token(text) {
                true => Ok(()),
                false => Err("must be printable ASCII without a space at either end".into()),
            },
            Self::Passphrase => match text.chars().any(char::is_control) || text.len() > LONGEST_PASSPHRASE {
                true => Err(format!(
                    "must be one line of at most {LONGEST_PASSPHRASE} bytes without control characters"
                )),
                false => Ok(()),
            },
            Self::CurlOptions => split_words(text).map(drop),
            Self::Address => parse_address(text).map(drop),
        }
    }

    /// Whether such a value may contain a secret even if the variable is not secret: in the userinfo of a URL or the
    /// value of an option.
    pub fn may_hold_secret(self) -> bool {
        matches!(self, Self::Url | Self::DumpOptions | Self::CurlOptions | Self::Passphrase)
    }
}

fn is_token(text: &str) -> bool {
    text.trim_matches(' ') == text && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Longest passphrase in bytes. gpg keeps it in locked memory, of which there is little.
const LONGEST_PASSPHRASE: usize = 1024;

/// TRUE or FALSE in any case.
pub(super) fn parse_flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_uppercase().as_str() {
        "TRUE" => Ok(true),
        "FALSE" => Ok(false),
        _ => Err("must be TRUE or FALSE".into()),
    }
}

/// The largest whole number: the maximum of 31 bits.
const LARGEST: u32 = i32::MAX.cast_unsigned();

pub(super) fn parse_whole(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|number| digits && *number <= LARGEST);
    number.ok_or_else(|| format!("must be a whole number from 0 to {LARGEST}"))
}

/// A whole number of at least 1.
pub(super) fn parse_count(text: &str) -> Result<u32, String> {
    let count = parse_whole(text).ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("must be a whole number from 1 to {LARGEST}"))
}

/// A retention limit; empty for none.
pub(super) fn parse_keep(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() { Ok(None) } else { parse_whole(text).map(Some) }
}

/// A duration in seconds.
pub(super) fn parse_span(text: &str) -> Result<u64, String> {
    let seconds = match text.as_bytes().last() {
        Some(b's') => Some(1),
        Some(b'm') => Some(60),
        Some(b'h') => Some(3600),
        Some(b'd') => Some(86_400),
        Some(b'w') => Some(604_800),
        _ => None,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| parse_whole(number).ok());
    let span = number.zip(seconds).map(|(number, seconds)| u64::from(number) * seconds);
    span.ok_or_else(|| "must be a whole number followed by s, m, h, d or w, such as 7d".into())
}

/// A time limit in seconds, if any.
pub(super) fn parse_limit(text: &str) -> Result<Option<u64>, String> {
    match text {
        "0" => Ok(None),
        _ => match parse_span(text) {
            Ok(span) => Ok(Some(span).filter(|span| *span > 0)),
            Err(problem) => Err(format!("{problem}, or 0 for none")),
        },
    }
}

/// Maximum number of hours; more is practically no limit.
const MOST_HOURS: f64 = 1_000_000.0;

/// A time limit in hours, if any.
pub(super) fn parse_hours(text: &str) -> Result<Option<Duration>, String> {
    // Excludes other forms of numbers, such as 1e3 or inf.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let hours = text.parse::<f64>().ok().filter(|hours| digits && *hours <= MOST_HOURS);
    let hours = hours.ok_or_else(|| format!("must be hours from 0 to {MOST_HOURS}, such as 12 or 0.5"))?;
    Ok((hours > 0.0).then(|| Duration::from_secs_f64(hours * 3600.0)))
}

pub(super) fn parse_port(text: &str) -> Result<u16, String> {
    let number = parse_whole(text).ok().and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| "must be a port number from 0 to 65535".into())
}

pub(super) fn parse_server_port(text: &str) -> Result<u16, String> {
    let number =
        text.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).map_or(text, |(_, port)| port);
    parse_port(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| "must be a port number from 1 to 65535".into())
}

pub(super) fn parse_word(text: &str, words: &'static [&'static str]) -> Result<&'static str, String> {
    let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    word.copied().ok_or_else(|| format!("must be one of {}", words.join(", ")))
}

pub(super) fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "must be an IP address".into())
}

fn check_url(text: &str) -> Result<(), String> {
    let after_scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let head = text.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    });
    let authority = after_scheme.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let host = authority.map(|authority| authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    let printable = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    match host.map(host_without_port) {
        Some(host) if !host.is_empty() && printable => Ok(()),
        _ => Err("must be an http or https URL with a host".into()),
    }
}

fn host_without_port(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: Rule, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule.check(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(rule.check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_fit_31_bits_and_may_have_leading_zeros() {
        check(
            Rule::Whole,
            &["0", "08", "2147483647"],
            &["", "-1", "+1", "1.5", "2147483648", "1 ", "x", "٣"],
        );
        assert_eq!(parse_whole("08"), Ok(8));
    }

    #[test]
    fn spans_of_time_have_a_unit() {
        check(
            Rule::Span,
            &["0s", "90m", "12h", "7d", "52w"],
            &["", "7", "d", "1.5d", "-1d", "7 d", "7D", "7é"],
        );
        assert_eq!((parse_span("7d"), parse_span("2h")), (Ok(604_800), Ok(7200)));
    }

    #[test]
    fn limits_may_be_none_and_hours_may_have_fractions() {
        check(Rule::Limit, &["0", "0s", "90s", "1h"], &["", "90", "00", "-1s", "1.5h", "none"]);
        assert_eq!(
            (parse_limit("0"), parse_limit("0m"), parse_limit("2m")),
            (Ok(None), Ok(None), Ok(Some(120)))
        );
        check(
            Rule::Hours,
            &["0", "0.0", "0.5", "12", ".5", "1000000"],
            &["", ".", "-1", "+1", "1e3", "inf", "NaN", "1,5", "1000001", "1.5.", "1h", " 1"],
        );
        assert_eq!((parse_hours("0"), parse_hours("0.5")), (Ok(None), Ok(Some(Duration::from_secs(1800)))));
    }

    #[test]
    fn flags_and_words_are_taken_in_any_case() {
        check(Rule::Flag, &["TRUE", "false", "True"], &["", "1", "yes"]);
        check(Rule::OneOf(&["all", "none"]), &["ALL", "none"], &["", "al"]);
    }

    #[test]
    fn urls_need_a_scheme_and_a_host() {
        check(
            Rule::Url,
            &["http://a", "https://user:pw@host:8443/x?y=z", "HTTP://[::1]:80/"],
            &[
                "",
                "ftp://a",
                "http://",
                "http:///x",
                "http://@/",
                "http://:80",
                "https://a b",
                "file:///etc",
                "http://[]/",
                "é",
            ],
        );
    }

    #[test]
    fn a_server_port_may_come_as_a_container_link_sets_it() {
        check(
            Rule::ServerPort,
            &["5432", "tcp://10.0.0.7:5433"],
            &["0", "65536", "tcp://10.0.0.7", "udp://a:1"],
        );
        assert_eq!(parse_server_port("tcp://10.0.0.7:5433"), Ok(5433));
    }

    #[test]
    fn options_split_like_a_shells_words() {
        assert_eq!(split_words("-a 'b c' \"d\"").unwrap(), ["-a", "b c", "d"]);
        check(Rule::CurlOptions, &["", "-H 'X: $(id)'"], &["'open", "a\nb"]);
    }
}
