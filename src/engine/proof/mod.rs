//! Proves a backup by restoring it into a temporary PostgreSQL server.

mod census;
mod error;
mod server;
mod statement_error;
mod workplace;

use std::cell::Cell;
use std::time::Instant;

use crate::engine::content::DecryptionContext;
use crate::engine::restore::{RestoreError, Source, Trial};
use crate::store::catalog::{BackupDirectory, BackupName, Counts, DatabaseName, Proof, Slot};
use crate::system::process::ProgramError;
use crate::util::units;
use server::PrivateServer;
use statement_error::StatementError;
use workplace::Workplace;

pub use error::ProofError;
pub use server::cleanup_temporary_directories;

/// The programs that load a dump.
const LOADERS: [&str; 2] = ["psql", "pg_restore"];

/// The result of an error before or outside the load.
fn of_content(error: RestoreError) -> ProofError {
    match &error {
        RestoreError::Content(_, content) if content.is_damage() => ProofError::Broken(error),
        _ => ProofError::Restore(error),
    }
}

/// Tells whether a failed restore is the backup's fault. `here` is the major version of the temporary server, `of`
/// that of the backup. `refused` is the last statement error in the server's log, as the output of psql and pg_restore
/// may have only the end of its context.
fn judge(error: RestoreError, refused: Option<&StatementError>, here: u32, of: Option<u32>) -> ProofError {
    let is_of_load = match &error {
        RestoreError::Program(ProgramError::Failed(program, ..))
        | RestoreError::Unresolved(ProgramError::Failed(program, ..)) => {
            LOADERS.iter().any(|name| program == name)
        }
        _ => false,
    };
    let Some(refused) = refused.filter(|_| is_of_load) else { return of_content(error) };
    match of {
        _ if refused.is_of_data() => ProofError::Broken(error),
        Some(of) if refused.is_of_statement() && of == here => ProofError::Broken(error),
        Some(_) if refused.is_of_statement() => ProofError::OtherMajor(here, error),
        // The backup's version is unknown. The grammar is mostly the same in every version.
        None if refused.is_of_grammar() => ProofError::Broken(error),
        _ => ProofError::Restore(error),
    }
}

/// Restores a backup into a temporary server with this number of jobs, and counts and checks the result. The caller
/// must hold the run lock.
///
/// # Errors
/// When the backup is not whole or cannot be restored, the server cannot be started, or a stop signal comes.
pub fn prove(
    directory: &BackupDirectory,
    slot: Slot,
    name: &BackupName,
    decryption: &DecryptionContext,
    jobs: usize,
) -> Result<Proof, ProofError> {
    let begun = Instant::now();
    let source = Source::open_published(directory, slot, name, false).map_err(of_content)?;
    let backup = source.check(decryption).map_err(of_content)?;
    // A lower bound: the server leaves the volume only if that surely has no room, as the other place may be memory.
    let size =
        backup.origin().and_then(|origin| origin.size).unwrap_or(u64::MAX).min(backup.check_result.bytes);
    let workplace = Workplace::choose(directory, size)?;
    let server = PrivateServer::start(workplace.directory(), &decryption.runner)?;
    let client = server.client(&DatabaseName::maintenance());
    let restart = |settings: &[String]| {
        server.restart(settings).map_err(|error| RestoreError::Missing(error.to_string()))
    };
    let has_other_locale = Cell::new(false);
    let trial = Trial {
        backup: &backup,
        client: &client,
        decryption,
        workplace: workplace.directory().clone(),
        jobs,
        has_other_locale: &has_other_locale,
        restart: &restart,
    };
    let here = client.server_version()?.major;
    let databases = trial.restore().map_err(|error| {
        if server.is_running() {
            let refused = server.last_error();
            // With another sort order, other rows fit partitions and check constraints.
            let is_of_locale =
                has_other_locale.get() && refused.as_ref().is_some_and(StatementError::is_of_check);
            let refused = refused.filter(|_| !is_of_locale);
            judge(error, refused.as_ref(), here, backup.server_major())
        } else {
            ProofError::Lost(error)
        }
    })?;
    let mut counts = Counts::default();
    for database in &databases {
        counts += census::count(&server.client(database))?;
    }
    census::check_files(&server, &databases, &decryption.runner)?;
    let proof = Proof { duration_seconds: begun.elapsed().as_secs_f64(), counts };
    log::info!(
        "{slot}/{name}: restored in {:.1} s, {} on the disk: {} tables, {} rows, {} indexes, {} large objects",
        proof.duration_seconds,
        units::bytes(server.size()),
        counts.tables,
        counts.rows,
        counts.indexes,
        counts.large_objects
    );
    Ok(proof)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::system::process::Exit;

    fn judged(state: &str, message: &str, of: Option<u32>) -> &'static str {
        let said = format!("psql:<stdin>:5: ERROR:  {message}");
        let error = RestoreError::Program(ProgramError::Failed(OsString::from("psql"), Exit::Code(3), said));
        let refused = StatementError { state: state.into(), message: message.into() };
        match judge(error, Some(&refused), 18, of) {
            ProofError::Broken(_) => "broken",
            ProofError::OtherMajor(18, _) => "other major",
            ProofError::Restore(_) => "not here",
            error => panic!("{error}"),
        }
    }

    #[test]
    fn a_verdict_depends_on_the_error_and_on_the_major_version() {
        for (state, message, same, older, unknown) in [
            ("23505", "duplicate key", "broken", "broken", "broken"),
            ("P0001", "no", "broken", "broken", "broken"),
            ("42601", "syntax error at or near \"json\"", "broken", "other major", "broken"),
            ("42P01", "relation \"x\" does not exist", "broken", "other major", "not here"),
            ("42704", "role \"x\" does not exist", "not here", "not here", "not here"),
            ("0A000", "extension \"x\" is not available", "not here", "not here", "not here"),
        ] {
            for (of, expected) in [(Some(18), same), (Some(15), older), (None, unknown)] {
                assert_eq!(judged(state, message, of), expected, "{state} of {of:?}");
            }
        }
    }

    #[test]
    fn what_the_server_has_logged_counts_only_for_programs_that_load() {
        let failed = |program: &str| {
            let context = "CONTEXT:  PL/pgSQL function public.f(integer) line 1 at RETURN".to_owned();
            RestoreError::Program(ProgramError::Failed(program.into(), Exit::Code(1), context))
        };
        let refused = StatementError { state: "23505".into(), message: "duplicate key".into() };
        let is_damage = |program, refused| judge(failed(program), refused, 18, Some(18)).is_damage();
        assert!(is_damage("pg_restore", Some(&refused)) && is_damage("psql", Some(&refused)));
        assert!(!is_damage("gpg", Some(&refused)) && !is_damage("psql", None));
    }
}
