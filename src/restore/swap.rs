//! The moment in which the loaded database takes the target's name.

use super::RestoreError;
use super::journal::MARK;
use super::properties::Properties;
use super::rename::Renaming;
use super::scratch::Scratch;
use crate::catalog::DatabaseName;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};
use crate::process::ProgramError;

/// Renames the target to `kept_as`, if there is a target, and the scratch database to the target, in one
/// transaction: whatever ends it, the server has done both or neither.
///
/// # Errors
/// When the names could not be changed; both databases are as they were.
pub fn swap(
    scratch: &Scratch,
    target: &DatabaseName,
    like: Option<&Properties>,
    kept_as: &DatabaseName,
) -> Result<(), RestoreError> {
    let orders = orders(scratch, target, like, kept_as);
    // Somebody may have found the scratch database, too: an exporter that looks at all there are.
    let databases = vec![target, scratch.name()];
    let (client, journal) = (scratch.client(), scratch.journal());
    let renaming = Renaming { client, journal, databases, orders: orders.as_bytes() };
    renaming.run(|client| is_called(client, scratch, target)).map_err(|error| match error {
        error @ DatabaseError::Program(ProgramError::Interrupted(_)) => error.into(),
        error => RestoreError::Swap(target.clone(), error.to_string()),
    })
}

fn orders(
    scratch: &Scratch,
    target: &DatabaseName,
    like: Option<&Properties>,
    kept_as: &DatabaseName,
) -> String {
    let (new, target) = (identifier(scratch.name().as_str()), target.as_str());
    let mut orders = vec!["BEGIN;".to_owned(), "SET LOCAL lock_timeout = '10s';".to_owned()];
    if like.is_some() {
        let kept = identifier(kept_as.as_str());
        orders.push(format!("ALTER DATABASE {} RENAME TO {kept};", identifier(target)));
        if *kept_as == scratch.journal().replaced() {
            let mark = literal(&format!("{MARK}has replaced this database, which was called {target}"));
            orders.push(format!("COMMENT ON DATABASE {kept} IS {mark};"));
        }
    }
    orders.push(format!("ALTER DATABASE {new} RENAME TO {};", identifier(target)));
    orders.push(match like {
        Some(properties) => properties.comment_order(target),
        None => format!("COMMENT ON DATABASE {} IS NULL;", identifier(target)),
    });
    orders.push("COMMIT;".into());
    orders.join("\n")
}

/// Whether the scratch database has the target's name now, asked even after a stop signal.
fn is_called(client: &Client, scratch: &Scratch, target: &DatabaseName) -> Result<bool, DatabaseError> {
    let sql = "SELECT oid::bigint FROM pg_database WHERE datname = :'database';";
    let output = client.clean_up(sql, &[("database", target.as_str())])?;
    Ok(output.stdout.trim_ascii() == scratch.oid().to_string().as_bytes())
}
