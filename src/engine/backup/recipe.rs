//! The command that makes a dump, and what is done with its output.

use std::process::Command;

use crate::formats::compress::Compression;
use crate::postgres::{Client, named};
use crate::settings::DumpFormat;
use crate::settings::Subject;
use crate::store::catalog::{DatabaseName, Format, Scope};

/// Something to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The database's name, or `cluster` or `globals`.
    pub name: DatabaseName,
    /// What it is.
    pub scope: Scope,
}

impl Item {
    /// A database.
    pub fn database(name: DatabaseName) -> Self {
        Self { name, scope: Scope::Database }
    }

    /// What is not one database.
    pub fn of_server(scope: Scope) -> Self {
        Self { name: DatabaseName::of_scope(scope), scope }
    }
}

/// How to dump an item.
#[derive(Debug)]
pub struct Recipe {
    /// What is dumped, for messages.
    pub what: String,
    /// The program, told where to connect.
    pub command: Command,
    /// What is done with its output.
    pub compression: Compression,
    /// What comes of it.
    pub format: Format,
    /// The bytes of the last such dump before compression and encryption, if they are known. For the display of
    /// progress.
    pub last_dumped: Option<u64>,
}

impl Recipe {
    /// The recipe for an item. An `encrypted` dump is never a directory or a tar archive: pg_dump writes both to disk
    /// in clear, a tar archive through unnamed files in `/tmp`.
    pub fn new(client: &Client, subject: &Subject, item: &Item, encrypted: bool, passwords: bool) -> Self {
        match item.scope {
            Scope::Database => Self::of_database(client, subject, &item.name, encrypted),
            scope => Self::of_server(client, subject, scope, passwords),
        }
    }

    fn of_database(client: &Client, subject: &Subject, name: &DatabaseName, encrypted: bool) -> Self {
        let options = &subject.options;
        let server = client.server();
        let mut command = server.command("pg_dump", name);
        command.arg("--no-password");
        let archive_compression =
            options.archive_compression.iter().map(|compression| format!("--compress={compression}"));
        let (compression, format) = match options.format {
            DumpFormat::Plain => {
                command.args(["--format=plain", "--compress=0"]);
                (options.compression, text_format(options.compression))
            }
            DumpFormat::Tar if !encrypted => {
                command.arg("--format=tar");
                (Compression::None, Format::Tar)
            }
            DumpFormat::Directory if !encrypted => {
                command.arg("--format=directory").args(archive_compression);
                // Each job has a session of its own. Through a pooler, which takes no options, there is one only.
                let jobs = options.jobs.iter().filter(|_| server.takes_options);
                command.args(jobs.map(|jobs| format!("--jobs={jobs}")));
                (Compression::None, Format::Directory)
            }
            asked => {
                if asked != DumpFormat::Custom {
                    log::info!(
                        "{name}: using the custom format, as other archive formats would be written to disk \
                         unencrypted first"
                    );
                }
                command.arg("--format=custom").args(archive_compression);
                (Compression::None, Format::Custom)
            }
        };
        command.args(&options.rest);
        command.args(subject.excluded_tables.iter().map(|pattern| format!("--exclude-table={pattern}")));
        Self { what: name.to_string(), command, compression, format, last_dumped: None }
    }

    fn of_server(client: &Client, subject: &Subject, scope: Scope, passwords: bool) -> Self {
        let mut command = client.server().command("pg_dumpall", client.database());
        command.arg("--no-password").arg(format!("--database={}", named(client.database())));
        if !passwords {
            command.arg("--no-role-passwords");
        }
        match scope {
            Scope::Globals => command.arg("--globals-only"),
            _ => command.args(&subject.options.rest),
        };
        let compression = subject.options.text_compression();
        Self {
            what: scope.name().into(),
            command,
            compression,
            format: text_format(compression),
            last_dumped: None,
        }
    }
}

fn text_format(compression: Compression) -> Format {
    match compression {
        Compression::None => Format::Plain,
        Compression::Gzip(_) => Format::Gzip,
        Compression::Zstd(_) => Format::Zstd,
    }
}
