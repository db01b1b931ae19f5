//! The runs as the health port shows them, in the JSON of prodrigestivill/go-cron.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::problems::scheduled::Ended;
use crate::util::mutex::lock;

/// How much of a stream is kept, in bytes.
pub const KEPT: usize = 64 * 1024;

/// The end of a stream.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    /// Adds what was read, and drops what is too old.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend(chunk);
        let excess = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..excess);
        self.cut |= excess > 0;
    }

    /// The end of the stream as text of at most [`KEPT`] bytes. Bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        let bytes = [front, back].concat();
        // The cut may have gone through a character, which has up to three bytes after its first.
        let continued = bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
        let text = String::from_utf8_lossy(&bytes[if self.cut { continued } else { 0 }..]).into_owned();
        // The replacement character is longer than the byte that it replaces.
        let start = text.len().saturating_sub(KEPT);
        let start = (start..=text.len()).find(|start| text.is_char_boundary(*start)).unwrap_or(0);
        text[start..].to_owned()
    }
}

/// One run, going or ended.
#[derive(Debug, Default)]
pub struct Run {
    /// The process id; 0 before the first run, or when the command could not be started.
    pub pid: i32,
    /// Exit status as a shell tells it; 0 while the run goes on.
    pub exit_status: i32,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339; empty while the run goes on.
    pub ended: String,
    /// The end of its standard output.
    pub stdout: Tail,
    /// The end of its standard error.
    pub stderr: Tail,
}

/// A run that its readers, its waiter and the health port look at.
pub type SharedRun = Arc<Mutex<Run>>;

/// All that the health port shows.
#[derive(Debug)]
pub struct Record {
    schedule: String,
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    running: Option<SharedRun>,
    last: SharedRun,
}

/// The health port's answer.
#[derive(Debug)]
pub struct Report {
    /// The JSON text.
    pub json: String,
    /// Whether the last run ended well, or there was none, and nothing else is wrong.
    pub healthy: bool,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    /// Not among the original's.
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Vec<String>>,
    #[serde(rename = "Running")]
    running: BTreeMap<String, RunJson>,
    #[serde(rename = "Last")]
    last: RunJson,
    #[serde(rename = "Schedule")]
    schedule: &'a str,
}

#[derive(Serialize)]
struct RunJson {
    #[serde(rename = "Exit_status")]
    exit_status: i32,
    #[serde(rename = "Stdout")]
    stdout: String,
    #[serde(rename = "Stderr")]
    stderr: String,
    #[serde(rename = "ExitTime")]
    ended: String,
    #[serde(rename = "Pid")]
    pid: i32,
    #[serde(rename = "StartingTime")]
    started: String,
}

impl Record {
    /// A record of no runs yet, for the schedule of this text.
    pub fn new(schedule: &str) -> Self {
        Self { schedule: schedule.into(), runs: Mutex::default() }
    }

    /// Notes a run that goes on.
    pub fn start(&self, run: &SharedRun) {
        lock(&self.runs).running = Some(Arc::clone(run));
    }

    /// Notes that a run has ended.
    pub fn end(&self, run: SharedRun) {
        let mut runs = lock(&self.runs);
        runs.running = None;
        runs.last = run;
    }

    /// How the last run ended.
    pub fn ended(&self) -> Ended {
        let last = Arc::clone(&lock(&self.runs).last);
        let last = lock(&last);
        let at = last.ended.parse::<Timestamp>().ok().map(Timestamp::as_second);
        Ended { status: last.exit_status.into(), at }
    }

    /// All of it, as the health port answers it, with what else is wrong where somebody has looked.
    pub fn report(&self, problems: Option<Vec<String>>) -> Report {
        let (running, last) = {
            let runs = lock(&self.runs);
            (runs.running.clone(), Arc::clone(&runs.last))
        };
        let running = running.map(|run| RunJson::from(&*lock(&run)));
        let last = RunJson::from(&*lock(&last));
        let healthy = last.exit_status == 0 && problems.as_ref().is_none_or(Vec::is_empty);
        let running = running.map(|run| (run.pid.to_string(), run)).into_iter().collect();
        let report = ReportJson { problems, running, last, schedule: &self.schedule };
        // A map with text keys and plain values always has a JSON text.
        Report { json: serde_json::to_string_pretty(&report).unwrap_or_default(), healthy }
    }
}

impl From<&Run> for RunJson {
    fn from(run: &Run) -> Self {
        Self {
            exit_status: run.exit_status,
            stdout: run.stdout.text(),
            stderr: run.stderr.text(),
            ended: run.ended.clone(),
            pid: run.pid,
            started: run.started.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(chunks: &[&[u8]]) -> String {
        let mut tail = Tail::default();
        chunks.iter().for_each(|chunk| tail.push(chunk));
        tail.text()
    }

    #[test]
    fn a_short_stream_is_kept_whole_with_its_wrong_bytes_replaced() {
        assert_eq!(tail(&[b"a\xff", b"b\n"]), "a\u{fffd}b\n");
        assert_eq!(tail(&[b"\x80a"]), "\u{fffd}a");
        assert_eq!(tail(&[b"\xc3", b"\xa9"]), "é");
    }

    #[test]
    fn of_a_long_stream_the_last_64_kib_are_kept() {
        let text = tail(&[b"first", "x".repeat(KEPT).as_bytes(), b"last"]);
        assert_eq!(text.len(), KEPT);
        assert!(text.starts_with('x') && text.ends_with("xlast"));
    }

    #[test]
    fn the_cut_leaves_no_half_character_and_replacements_no_longer_text() {
        let text = tail(&["é".repeat(KEPT).as_bytes(), b"x"]);
        assert_eq!(text.len(), KEPT - 1);
        assert!(!text.contains('\u{fffd}'));
        let replaced = tail(&[&[0xff; KEPT]]);
        assert!(replaced.len() <= KEPT && replaced.len() > KEPT - 3);
    }

    #[test]
    fn what_else_is_wrong_is_told_beside_the_runs() {
        let record = Record::new("@daily");
        assert!(record.report(Some(Vec::new())).healthy);
        let report = record.report(Some(vec!["no".into()]));
        assert!(!report.healthy);
        let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
        assert_eq!((&json["problems"][0], &json["Last"]["Exit_status"]), (&"no".into(), &0.into()));
        assert_eq!(record.ended(), Ended { status: 0, at: None });
    }

    #[test]
    fn before_the_first_run_the_report_is_healthy_and_empty() {
        let report = Record::new("@daily").report(None);
        assert!(report.healthy);
        let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "Running": {},
                "Last": {"Exit_status": 0, "Stdout": "", "Stderr": "", "ExitTime": "", "Pid": 0, "StartingTime": ""},
                "Schedule": "@daily"
            })
        );
    }
}
