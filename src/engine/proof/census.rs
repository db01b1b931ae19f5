//! What a restored database holds, counted, and whether its files are in order.

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

/// Not of PostgreSQL itself.
const OWN: &str = "relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
                                        'pg_toast'::regnamespace)";

/// Has names come and go as the server has them. In a database in SQL_ASCII they need not be UTF-8, and in others not
/// every one can be converted.
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

/// Has pg_amcheck look at every table and index of databases, where there is one.
///
/// # Errors
/// When it finds something, or cannot be run.
pub fn check_files(
    server: &PrivateServer,
    databases: &[DatabaseName],
    runner: &Runner,
) -> Result<(), ProofError> {
    let client = server.client(&DatabaseName::maintenance());
    let is_there: bool = client
        .ask("SELECT to_json(count(*) > 0) FROM pg_available_extensions WHERE name = 'amcheck'", &[])?;
    if find("pg_amcheck").is_none() || !is_there {
        log::info!("pg_amcheck is not here: tables and indexes are not looked at one by one");
        return Ok(());
    }
    for database in databases {
        let client = server.client(database);
        // One may forbid what makes the extension.
        client.execute(format!("{AS_THEY_ARE} {SILENCE_TRIGGERS}"), &[])?;
        let said = server.make_file("amcheck").map_err(ProofError::Report)?;
        let output = said.try_clone().and_then(|file| Ok((file.try_clone()?, file)));
        let (output, errors) = output.map_err(ProofError::Report)?;
        let mut command = client.server().bare_command("pg_amcheck", database);
        // The database by the environment, as a pattern would have to be escaped.
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

/// With this status pg_amcheck says that it has found something wrong.
const FOUND: i32 = 2;
const SILENCE_TRIGGERS: &str = r"
    SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger
    \gexec
";

/// Bytes that are read of what it says.
const LONGEST: u64 = 64 << 10;

/// The first lines that pg_amcheck has written.
fn beginning(mut said: &File) -> io::Result<String> {
    let mut text = Vec::new();
    said.rewind()?;
    said.take(LONGEST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().map(str::trim).take(3).collect::<Vec<_>>().join(" | "))
}
