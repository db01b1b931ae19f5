//! Gives the loaded databases their names and comments, all in one transaction.

use super::survey::{Comment, Survey};
use crate::engine::restore::error::RestoreError;
use crate::engine::restore::target::{Journal, Renaming};
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::DatabaseName;
use crate::system::process::ProgramError;

/// Renames every staged database, pairs of its name and its staging name, and sets its comment.
///
/// # Errors
/// When they cannot be renamed, or a stop signal comes before they are. Then all have their staging names.
pub fn name_databases(
    client: &Client,
    journal: &Journal,
    staged: &[(DatabaseName, DatabaseName)],
    survey: &Survey,
) -> Result<(), RestoreError> {
    if staged.is_empty() {
        return Ok(());
    }
    let mut statements = b"BEGIN;\n".to_vec();
    for (name, staging_name) in staged {
        statements.extend(rename(name, staging_name, survey));
        statements.extend(comment(name, survey));
    }
    statements.extend(b"COMMIT;\n");
    let databases = staged.iter().map(|(_, staged)| staged).collect();
    let renaming = Renaming { client, journal, databases, statements: &statements };
    renaming.run(|client| are_named(client, staged, journal)).map_err(|error| match error {
        error @ DatabaseError::Program(ProgramError::Interrupted(_)) => error.into(),
        error => RestoreError::Names(error),
    })
}

/// The statement that gives a database its name; of one that has it already, the limit of its sessions, which were kept
/// out while it was loaded.
fn rename(name: &DatabaseName, staging_name: &DatabaseName, survey: &Survey) -> Vec<u8> {
    let database = identifier(name.as_str());
    if name != staging_name {
        let staged = identifier(staging_name.as_str());
        return format!("ALTER DATABASE {staged} RENAME TO {database};\n").into_bytes();
    }
    let limit = survey.limits.iter().find(|(of, _)| of == name).map(|(_, limit)| limit.clone());
    let unlimited = || format!("ALTER DATABASE {database} CONNECTION LIMIT -1;").into_bytes();
    let mut statement = limit.unwrap_or_else(unlimited);
    statement.push(b'\n');
    statement
}

/// The statements that set a database's comment to the one in the dump, or remove the staging comment.
fn comment(name: &DatabaseName, survey: &Survey) -> Vec<u8> {
    let database = identifier(name.as_str());
    let none = Comment { encoding: Vec::new(), text: b" IS NULL;".to_vec() };
    let comment = survey.comments.iter().find(|(of, _)| of == name).map_or(&none, |(_, comment)| comment);
    // The text is in the encoding that the dump has set before it.
    let name_and_text = [b"COMMENT ON DATABASE ", database.as_bytes(), &comment.text].concat();
    if database.is_ascii() {
        [&comment.encoding, &name_and_text, &b"\nRESET client_encoding;\n"[..]].concat()
    } else {
        [&name_and_text, &b"\n"[..]].concat()
    }
}

/// Whether no database has its staging name or staging comment any more. Asked even after a stop signal.
fn are_named(
    client: &Client,
    staged: &[(DatabaseName, DatabaseName)],
    journal: &Journal,
) -> Result<bool, DatabaseError> {
    let names: Vec<String> = staged.iter().map(|(_, staged)| literal(staged.as_str())).collect();
    let sql = format!(
        "SELECT coalesce(json_agg(shobj_description(oid, 'pg_database')), '[]') FROM pg_database
         WHERE datname IN ({});",
        names.join(", ")
    );
    let comments: Vec<Option<String>> = client.ask_regardless(&sql, &[])?;
    let is_ours =
        |comment: &Option<String>| comment.as_deref().is_some_and(|comment| journal.is_mark(comment));
    Ok(!comments.iter().any(is_ours))
}
