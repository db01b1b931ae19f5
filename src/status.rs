//! `.status.json` in the backup directory: how the last backup run went. It outlives the container.

use std::fs;
use std::io;

use crate::backup::Report;
use crate::catalog::BackupDirectory;
use crate::durable;

const FILE_NAME: &str = ".status.json";

/// Keeps a report. What a run that was `limited` to some databases says nothing of stays as it was: a
/// success of one must not hide the failure of another.
///
/// # Errors
/// When it cannot be written; the last one stays.
pub fn write(directory: &BackupDirectory, report: &Report, limited: bool) -> io::Result<()> {
    let mut report = report.clone();
    if let (true, Ok(Some(last))) = (limited, read(directory)) {
        report.complete_from(last);
    }
    let mut text = serde_json::to_vec_pretty(&report)?;
    text.push(b'\n');
    durable::replace_file(directory.root(), &directory.root().join(FILE_NAME), &text, 0o644)
}

/// The report of the last run; `None` before the first.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(directory: &BackupDirectory) -> io::Result<Option<Report>> {
    match fs::read(directory.root().join(FILE_NAME)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
