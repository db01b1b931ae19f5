//! Backups that are not made any more.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use crate::settings::{Environment, Reader};
use crate::store::records::Report;
use crate::util::clock;

/// A problem if the last backup is too old; before the first backup, if the container has run for too long.
pub(super) fn check(environment: &Environment, last: Option<&Report>) -> Option<String> {
    let hours = match Reader::resolve(environment, |reader| reader.whole("BACKUP_MAX_AGE_HOURS")) {
        Ok(hours) => hours,
        Err(faults) => return Some(faults.to_string()),
    };
    let limit = i64::from(hours) * 3600;
    match last {
        Some(report) => {
            // A time in the future is a problem of its own.
            let age = report.age(clock::now()).unwrap_or_default();
            (age > limit).then(|| {
                format!("the last backup is {} h old, BACKUP_MAX_AGE_HOURS allows {hours}", age / 3600)
            })
        }
        None => {
            let up = container_age().unwrap_or_default();
            (up > limit).then(|| {
                format!("no backup has been made in the {} h since the container started", up / 3600)
            })
        }
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
