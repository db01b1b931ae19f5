//! The scheduler's last run, as go-cron's health port has it. The port knows of a failure also when nothing could be
//! recorded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::store::records::{Outcome, Report};
use crate::util::clock;

/// How long the port may take to answer: it waits up to two seconds for a slow disk itself.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most of an answer that is read: two streams of 64 KiB, each byte of which may take six in JSON, and some more.
const LONGEST: u64 = 1 << 20;

/// How the last scheduled run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, 0 also before the first.
    pub status: i64,
    /// When, in Unix seconds.
    pub at: Option<i64>,
}

impl Ended {
    /// What the port's answer says of it.
    pub fn of(answer: &Value) -> Self {
        let last = &answer["Last"];
        let at = last["ExitTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        Self { status: last["Exit_status"].as_i64().unwrap_or_default(), at: at.map(Timestamp::as_second) }
    }
}

/// A problem if it failed and no later run succeeded.
pub fn check(ended: &Ended, last: Option<&Report>) -> Option<String> {
    let went_well = |report: &Report| {
        let is_later = Some(report.timestamp) > ended.at && report.age(clock::now()).is_some();
        report.status == Outcome::Ok && is_later
    };
    let is_made_up_for = last.is_some_and(went_well);
    (ended.status != 0 && !is_made_up_for)
        .then(|| format!("the last scheduled run ended with status {}", ended.status))
}

/// Asks a health port. None if it does not answer soon, as while one go-cron replaces another.
pub(super) fn ask(port: SocketAddr) -> Option<Ended> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&port, PATIENCE).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    while (answer.len() as u64) < LONGEST {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut buffer).ok()? {
            0 => break,
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    let at = memchr::memmem::find(&answer, b"\r\n\r\n")?;
    Some(Ended::of(&serde_json::from_slice(&answer[at + 4..]).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use serde_json::json;

    use super::*;

    fn answering(text: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(text).unwrap();
        });
        address
    }

    #[test]
    fn what_the_port_says_of_the_last_run_is_taken_and_nonsense_is_not() {
        let text = b"HTTP/1.1 503 x\r\nA: b\r\n\r\n{\"Last\":{\"Exit_status\":7,\"ExitTime\":\"2026-04-16T14:30:01+05:00\"}}";
        assert_eq!(ask(answering(text)), Some(Ended { status: 7, at: Some(1_776_331_801) }));
        for nonsense in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n\r\n{"] {
            assert_eq!(ask(answering(nonsense)), None);
        }
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let begun = Instant::now();
        assert_eq!(ask(silent.local_addr().unwrap()), None);
        assert!(begun.elapsed() < 3 * PATIENCE);
    }

    #[test]
    fn a_failed_run_counts_until_a_later_one_goes_well() {
        let ended = Ended::of(&json!({"Last": {"Exit_status": 1, "ExitTime": "2026-04-16T14:30:01Z"}}));
        let report = |timestamp, error: Option<&str>| {
            let report = Report::of_run(Instant::now(), Vec::new(), &[], error.map(String::from));
            Report { timestamp, ..report }
        };
        let at = ended.at.unwrap();
        assert!(check(&ended, None).unwrap().ends_with("status 1"));
        assert!(check(&ended, Some(&report(at, None))).is_some());
        assert!(check(&ended, Some(&report(at + 1, Some("x")))).is_some());
        assert_eq!(check(&ended, Some(&report(at + 1, None))), None);
        let fresh = Ended::of(&json!({"Last": {"Exit_status": 0, "ExitTime": ""}}));
        assert_eq!(check(&fresh, None), None);
    }
}
