//! The problems that the records in the backup directory show: the last result, the history and the restore proofs.

use std::sync::Arc;

use super::look::Look;
use super::{age, clock, overdue, proofs, runs};
use crate::engine::backup::disk_space;
use crate::postgres::Server;
use crate::settings::{self, Environment};
use crate::store::catalog::BackupDirectory;
use crate::store::records::Ledger;
use crate::store::records::history;
use crate::store::records::proofs as ledger;
use crate::store::records::status;
use crate::util::clock as time;

/// Reads the records, by these settings or by those in force.
pub(super) fn read(directory: &BackupDirectory, settings: Option<Arc<Environment>>) -> Look {
    let Some(settings) = settings else {
        // Read each time, as the API may have changed a limit.
        return match settings::effective_environment() {
            Ok(environment) => read_with(directory, &environment, Vec::new()),
            Err(error) => read_with(directory, &Environment::of_process(), vec![error.to_string()]),
        };
    };
    read_with(directory, &settings, Vec::new())
}

fn read_with(directory: &BackupDirectory, environment: &Environment, mut problems: Vec<String>) -> Look {
    let (server, now) = (Server::address_in(environment), time::now());
    let server = server.as_deref();
    let last = status::read(directory, server).unwrap_or_else(|error| {
        problems.push(format!("the last result cannot be read: {error}"));
        None
    });
    let newest = history::newest_of(directory, server).unwrap_or_else(|error| {
        problems.push(format!("the history cannot be read: {error}"));
        None
    });
    let proofs = ledger::read(directory).unwrap_or_else(|error| {
        problems.push(format!("the restore proofs cannot be read: {error}"));
        Ledger::new()
    });
    problems.extend(clock::check(last.as_ref(), newest.as_ref(), &proofs, now));
    let (last, proofs) = (runs::worse(last, newest), ledger::believed(proofs, now));
    problems.extend(runs::check(last.as_ref()));
    problems.extend(age::check(environment, last.as_ref()));
    problems.extend(proofs::check(environment, last.as_ref(), &proofs));
    let overdue = overdue::check(directory, environment);
    let is_overdue = !overdue.is_empty();
    problems.extend(overdue);
    Look { last, proofs, is_overdue, space: disk_space(directory).ok(), problems, is_current: true }
}
