//! Counts what a restored database holds, and checks its files by pg_amcheck.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::Stdio;

use serde::Deserialize;

use super::error::ProofError;
use super::server::{PrivateServer, find};
use crate::postgres::{Client, DatabaseError, WRITES};
use crate::store::catalog::{Counts, DatabaseName};
use crate::system::process::{Exit, ProgramError, Runner};

#[derive(Debug, Deserialize)]
struct Row {
    tables: u64,
    indexes: u64,
    large_objects: u64,
}

/// Excludes PostgreSQL's own relations.
const OWN: &str = "relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
                                        'pg_toast'::regnamespace)";

/// Sets the client's encoding to the database's, so that names need no conversion: in SQL_ASCII they may be no UTF-8,
/// and in other encodings some cannot be converted.
const AS_THEY_ARE: &str = r"
    SELECT pg_catalog.getdatabaseencoding() AS encoding \gset
    SET client_encoding = :'encoding';
";

/// Counts what a database holds.
///
/// # Errors
/// When the server cannot be asked.
pub fn count(client: &Client) -> Result<Counts, DatabaseError> {
    let objects = format!(
        "SELECT json_build_object(
            'tables', (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND {OWN}),
            'indexes', (SELECT count(*) FROM pg_class WHERE relkind IN ('i', 'I') AND {OWN}),
            'large_objects', (SELECT count(*) FROM pg_largeobject_metadata));"
    );
    let Row { tables, indexes, large_objects } = client.ask(&objects, &[])?;
    let rows = format!(
        "{AS_THEY_ARE} SELECT format('SELECT count(*) FROM ONLY %s', oid::regclass) FROM pg_class
         WHERE relkind = 'r' AND {OWN}\n\\gexec\n"
    );
    let counted = client.execute(rows, &[])?;
    let lines = String::from_utf8_lossy(&counted.stdout).into_owned();
    let rows = lines.lines().map(str::parse::<u64>).sum::<Result<u64, _>>();
    let rows = rows.map_err(|error| DatabaseError::Answer(error.to_string()))?;
    Ok(Counts { tables, rows, indexes, large_objects })
}

/// Runs pg_amcheck on every table and index of the databases, if it is installed.
///
/// # Errors
/// When it finds corruption, or cannot be run.
pub fn check_files(
    server: &PrivateServer,
    databases: &[DatabaseName],
    runner: &Runner,
) -> Result<(), ProofError> {
    let client = server.client(&DatabaseName::maintenance());
    let is_there: bool = client
        .ask("SELECT to_json(count(*) > 0) FROM pg_available_extensions WHERE name = 'amcheck'", &[])?;
    if find("pg_amcheck").is_none() || !is_there {
        log::info!("pg_amcheck is not installed: tables and indexes are not checked one by one");
        return Ok(());
    }
    for database in databases {
        let client = server.client(database);
        // An event trigger could prevent the creation of the extension.
        client.execute(format!("{AS_THEY_ARE} {SILENCE_TRIGGERS}"), &[])?;
        let said = server.make_file("amcheck").map_err(ProofError::Report)?;
        let output = said.try_clone().and_then(|file| Ok((file.try_clone()?, file)));
        let (output, errors) = output.map_err(ProofError::Report)?;
        let mut command = client.server().bare_command("pg_amcheck", database);
        // The database is passed in the environment: as an argument it would be a pattern.
        command.args(["--install-missing", "--no-password"]);
        client.server().set_up(&mut command, &WRITES);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let exit = runner.spawn(&mut command).map_err(ProofError::from)?.wait();
        runner.check().map_err(ProgramError::Interrupted)?;
        let found = || beginning(&said).unwrap_or_default();
        match exit {
            Exit::Code(0) => {}
            Exit::Code(FOUND) => return Err(ProofError::Damaged(database.clone(), found())),
            exit => return Err(ProofError::Unchecked(format!("pg_amcheck: {exit}: {}", found()))),
        }
    }
    Ok(())
}

/// pg_amcheck's exit status when it has found corruption.
const FOUND: i32 = 2;
const SILENCE_TRIGGERS: &str = r"
    SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger
    \gexec
";

/// Bytes of pg_amcheck's output that are read.
const LONGEST: u64 = 64 << 10;

/// The first lines of pg_amcheck's output.
fn beginning(mut said: &File) -> io::Result<String> {
    let mut text = Vec::new();
    said.rewind()?;
    said.take(LONGEST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().map(str::trim).take(3).collect::<Vec<_>>().join(" | "))
}
