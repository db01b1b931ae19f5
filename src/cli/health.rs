//! `backupgram health`: whether backups are being made, for container health checks.

use std::fs;
use std::net::IpAddr;
use std::process::Command;

use jiff::Timestamp;
use lexopt::{Arg, Parser};
use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Value, json};

use super::{Failure, Outcome, environment, print, runner};
use crate::backup::{self, Report};
use crate::catalog::{BackupDirectory, DatabaseName};
use crate::curl::quote;
use crate::process::Runner;
use crate::proof::{self, Ledger};
use crate::settings::{ApiSettings, Environment, Reader, SchedulerSettings, Storage};
use crate::{status, units};

pub(super) const HELP: &str = "\
backupgram health
backupgram health --json

usage: backupgram health [--json]

Says in one line whether backups are being made: the scheduler and the API answer, the last run went well
and is not older than BACKUP_MAX_AGE_HOURS, and each of its databases has been proven by a restore in the
last BACKUP_MAX_UNPROVEN_DAYS, if that is set.

  --json    for programs, with the last restore proof of each database

environment: BACKUP_DIR, BACKUP_MAX_AGE_HOURS and BACKUP_MAX_UNPROVEN_DAYS; HEALTHCHECK_PORT is where the
scheduler is asked; REST_API_ENABLE, REST_API_BIND and REST_API_PORT where the API is, and whether it takes
REST_API_TOKEN.

exit status: 0 healthy; 1 not, or the settings are wrong; 2 wrong call.";

pub(super) fn run(mut arguments: Parser) -> Outcome {
    let mut as_json = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("json") => as_json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let runner = runner()?;
    let environment = environment()?;
    let storage = Reader::resolve(&environment, Storage::read)?;
    let scheduler = Reader::resolve(&environment, SchedulerSettings::read)?;
    let api = Reader::resolve(&environment, ApiSettings::read_if_enabled)?;
    let directory = BackupDirectory::new(storage.directory);
    let report = status::read(&directory).map_err(Failure::new)?;
    let proofs = proof::read(&directory).map_err(Failure::new)?;
    let problems: Vec<String> = [
        check_scheduler(&runner, scheduler.health_port, report.as_ref()),
        api.map_or(Ok(()), |api| check_api(&runner, &api)),
        check_result(report.as_ref()),
        check_age(&environment, report.as_ref()),
        check_proofs(&environment, report.as_ref(), &proofs),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    let healthy = problems.is_empty();
    let words = if healthy { "healthy".to_owned() } else { format!("unhealthy: {}", problems.join("; ")) };
    match as_json {
        true => print(&json!({"healthy": healthy, "problems": problems, "verified": proofs}).to_string()),
        false => print(&words),
    }
    if healthy { Ok(()) } else { Err(Failure { status: 1, lines: Vec::new() }) }
}

/// The scheduler answers, and its last run did not fail unless a later one has gone well.
fn check_scheduler(runner: &Runner, port: u16, report: Option<&Report>) -> Result<(), String> {
    if port == 0 {
        return Ok(());
    }
    let silent = |error| format!("the scheduler does not answer on port {port}: {error}");
    let answer = get(runner, &format!("http://127.0.0.1:{port}/"), None).map_err(silent)?;
    let last = &answer["Last"];
    let status = last["Exit_status"].as_i64().unwrap_or_default();
    let ended =
        last["ExitTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_second);
    let since =
        report.is_some_and(|report| report.status == backup::Outcome::Ok && Some(report.timestamp) > ended);
    match status == 0 || since {
        true => Ok(()),
        false => Err(format!("the last scheduled run ended with status {status}")),
    }
}

fn check_api(runner: &Runner, api: &ApiSettings) -> Result<(), String> {
    let address = match api.listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(address) if address.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V6(address) => format!("[{address}]"),
        address => address.to_string(),
    };
    let url = format!("http://{address}:{}/status", api.listen.port());
    let silent = |error| format!("the API does not answer on port {}: {error}", api.listen.port());
    let answer = get(runner, &url, Some(api.token.expose())).map_err(silent)?;
    match answer["scheduler"]["state"].as_str() {
        Some("failing") => Err("the scheduler keeps ending soon after its start".into()),
        Some(_) => Ok(()),
        None => Err("the API does not accept the token of these settings".into()),
    }
}

/// GET by curl. The token goes to its standard input, out of sight of the process list.
fn get(runner: &Runner, url: &str, token: Option<&str>) -> Result<Value, String> {
    let mut curl = Command::new("curl");
    curl.args([
        "--disable",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "5",
        "--config",
        "-",
        url,
    ]);
    let header = token.map(|token| quote(&format!("Authorization: Bearer {token}")));
    let config = header.map(|header| format!("header = {header}\n")).unwrap_or_default();
    let output = runner.run(&mut curl, config.as_bytes()).map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| "it is something else that answers".into())
}

fn check_result(report: Option<&Report>) -> Result<(), String> {
    match report {
        Some(report) if report.status == backup::Outcome::Failed => {
            Err(format!("the last backup failed: {}", report.errors()))
        }
        _ => Ok(()),
    }
}

/// The last backup is young enough; before the first, the container is.
fn check_age(environment: &Environment, report: Option<&Report>) -> Result<(), String> {
    let hours = Reader::resolve(environment, |reader| reader.whole("BACKUP_MAX_AGE_HOURS"));
    let hours = hours.map_err(|faults| faults.to_string())?;
    let limit = i64::from(hours) * 3600;
    match report {
        Some(report) => {
            let age = Timestamp::now().as_second().saturating_sub(report.timestamp);
            let problem =
                || format!("the last backup is {} h old, BACKUP_MAX_AGE_HOURS allows {hours}", age / 3600);
            if age > limit { Err(problem()) } else { Ok(()) }
        }
        None => {
            let up = container_age().unwrap_or_default();
            let problem =
                || format!("no backup has been made in the {} h since the container started", up / 3600);
            if up > limit { Err(problem()) } else { Ok(()) }
        }
    }
}

/// A backup of each database has been restored not long ago, if the settings ask for that.
fn check_proofs(environment: &Environment, report: Option<&Report>, proofs: &Ledger) -> Result<(), String> {
    let days = Reader::resolve(environment, |reader| reader.whole("BACKUP_MAX_UNPROVEN_DAYS"));
    let days = days.map_err(|faults| faults.to_string())?;
    let (Some(report), 1..) = (report, days) else { return Ok(()) };
    let oldest = Timestamp::now().as_second().saturating_sub(i64::from(days) * 86_400);
    let is_proven = |name: &str| {
        let proof = DatabaseName::parse(name).ok().and_then(|name| proofs.get(&name));
        proof.is_some_and(|proof| proof.verification.at >= oldest)
    };
    let names = report.databases.iter().map(|database| database.name.as_str());
    let unproven: Vec<&str> = names.filter(|name| !is_proven(name)).collect();
    match unproven.is_empty() {
        true => Ok(()),
        false => Err(format!("not proven by a restore in the last {days} d: {}", units::list(unproven))),
    }
}

/// Seconds since process 1 was started: `starttime` in /proc/1/stat, in clock ticks since boot (proc(5)).
fn container_age() -> Option<i64> {
    let stat = fs::read_to_string("/proc/1/stat").ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    // The command's name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let started: i64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let up: i64 = uptime.split('.').next()?.parse().ok()?;
    let ticks = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(up - started / ticks)
}
