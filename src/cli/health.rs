//! `backupgram health`: whether backups are being made, for container health checks.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lexopt::{Arg, Parser};
use serde_json::{Value, json};

use super::context::{Failure, Outcome, environment, print, print_line, runner};
use crate::engine::problems::scheduled::{self, Ended};
use crate::engine::problems::{self, Look, ONCE, SCHEDULER_FAILS};
use crate::settings::{ApiSettings, Environment, Reader, Redactor, SchedulerSettings, Storage};
use crate::store::catalog::BackupDirectory;
use crate::store::records::Report;
use crate::system::curl::Curl;
use crate::system::process::Runner;
use crate::util::question::{Heard, Question};

pub(super) const HELP: &str = "\
backupgram health
backupgram health --json

usage: backupgram health [--json]

Says in one line whether backups are being made: the scheduler and the API
answer, the backup directory can be read and written, no run is overdue, the
last run went well and is not older than BACKUP_MAX_AGE_HOURS, the clock is
trusted, and each of its databases has been proven by a restore in the last
BACKUP_MAX_UNPROVEN_DAYS, if that is set. Otherwise it lists all problems.

  --json    for programs, with the last restore proof of each database

environment: BACKUP_DIR, SCHEDULE, BACKUP_MAX_AGE_HOURS and
BACKUP_MAX_UNPROVEN_DAYS; POSTGRES_HOST and POSTGRES_PORT say whose runs count;
HEALTHCHECK_PORT is where the scheduler is asked; REST_API_ENABLE,
REST_API_BIND and REST_API_PORT where the API is, and whether it takes
REST_API_TOKEN.

exit status: 0 healthy; 1 not, or the settings are wrong; 2 usage error.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let mut as_json = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => as_json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let runner = runner()?;
    let (environment, silence) = environment_in_time()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let scheduler = Reader::resolve(&environment, SchedulerSettings::read)?;
    let api = Reader::resolve(&environment, ApiSettings::read_if_enabled)?;
    let directory = BackupDirectory::new(storage.directory);
    let Look { last, proofs, mut problems, .. } = match silence {
        None => problems::look(&directory, environment),
        Some(silence) => problems::unanswered(&directory, silence),
    };
    let (scheduled, told) = check_scheduler(&runner, scheduler.health_port, last.as_ref());
    problems.extend(scheduled);
    // Cleaned like the API's own problems, so that equal ones are recognised.
    let redactor = Redactor::of_process();
    let mut cleaned: Vec<String> =
        problems.iter().map(|problem| redactor.clean_for_api(problem, directory.root())).collect();
    let known = cleaned.len();
    problems::join(&mut cleaned, told);
    problems::join(&mut cleaned, api.map(|api| ask_api(&runner, &api)).unwrap_or_default());
    problems.extend(cleaned.drain(known..));
    let healthy = problems.is_empty();
    let words = if healthy { "healthy".to_owned() } else { format!("unhealthy: {}", problems.join("; ")) };
    if as_json {
        print(&json!({"healthy": healthy, "problems": problems, "verified": proofs}).to_string())
    } else {
        print_line(&words)
    }
    if healthy { Ok(()) } else { Err(Failure { status: 1, lines: Vec::new() }) }
}

/// The settings; without the overrides if the backup directory does not answer, with the time for which it has not.
fn environment_in_time() -> Result<(Environment, Option<Duration>), Failure> {
    let (settings, begun) = (Question::new(|()| environment()), Instant::now());
    let Heard { answer, silence } = settings.wait(settings.ask(()), begun, ONCE);
    Ok((answer.transpose()?.unwrap_or_else(Environment::of_process), silence))
}

/// Asks the scheduler. Answers a problem if it does not answer or its last run failed and no later one succeeded, and
/// the problems that it knows itself.
fn check_scheduler(runner: &Runner, port: u16, last: Option<&Report>) -> (Option<String>, Vec<String>) {
    if port == 0 {
        return (None, Vec::new());
    }
    match get(runner, &format!("http://127.0.0.1:{port}/"), None) {
        Ok(answer) => (scheduled::check(&Ended::of(&answer), last), told(&answer["problems"])),
        Err(error) => (Some(format!("the scheduler does not answer on port {port}: {error}")), Vec::new()),
    }
}

/// The problems in an answer.
fn told(problems: &Value) -> Vec<String> {
    problems.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
}

/// The problems that the API reports, or the problem that it cannot be asked.
fn ask_api(runner: &Runner, api: &ApiSettings) -> Vec<String> {
    let address = match api.listen.ip() {
        // An unspecified address includes this one, with or without IPv6.
        address if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(address) => format!("[{address}]"),
        address => address.to_string(),
    };
    let url = format!("http://{address}:{}/status", api.listen.port());
    let answer = match get(runner, &url, Some(api.token.expose())) {
        Ok(answer) => answer,
        Err(error) => return vec![format!("the API does not answer on port {}: {error}", api.listen.port())],
    };
    let told = told(&answer["problems"]);
    match answer["scheduler"]["state"].as_str() {
        Some("failing") => std::iter::once(SCHEDULER_FAILS.to_owned()).chain(told).collect(),
        Some(_) => told,
        None => vec!["the API does not accept the token of these settings".into()],
    }
}

/// Asks one of our own programs, within five seconds and without a proxy.
fn get(runner: &Runner, url: &str, token: Option<&str>) -> Result<Value, String> {
    let mut curl = Curl::default().url(url);
    if let Some(token) = token {
        curl = curl.header("Authorization", &format!("Bearer {token}"));
    }
    let (mut command, config) =
        curl.command(&["--silent", "--show-error", "--noproxy", "*", "--max-time", "5"]);
    let output = runner.run(&mut command, config.as_bytes()).map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| "another program answers there".into())
}
