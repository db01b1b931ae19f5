//! End-to-end tests: the real programs against real PostgreSQL servers, over real sockets and signals.
//!
//! A test's name is the sentence that it proves. `scripts/test.sh` fetches the servers that the system lacks.
#![allow(clippy::unwrap_used)]

mod harness;

/// The commands of the pages in `docs`, as their readers type them.
mod pages;
/// The examples of the API's documentation, as its readers type them.
mod seed_examples;

/// What a backup publishes, keeps, prunes, refuses and reports.
mod backup;
/// What a preview of the clean-up says is what happens.
mod cleanup;
/// Through pgbouncer it is as without.
mod pooler;
/// A restore gives exactly the backup, or leaves everything as it was.
mod restore;

/// What people are shown fits a terminal.
mod columns;
/// Where we connect, and what is said where we cannot.
mod connections;
/// One wrong bit.
mod damage;
/// Dumps of more than one file.
mod directory_dumps;
/// What a dry run tells is what the restore ends with.
mod dry_run;
/// Dumps that were made by other options, or came by other ways.
mod dumps_from_elsewhere;
/// With a key nothing lies anywhere in clear, and the standard tool opens what was made.
mod encryption;
/// What cannot be restored without the tables that a backup leaves out.
mod excluded_tables;
/// Extensions that load in a certain order only, or under one name.
mod extensions;
/// What breaks in the middle of a dump breaks nothing else.
mod faults;
/// Backups on file systems that tell no case, have no links, refuse names or flush no directory.
mod file_systems;
/// Every format comes back from a backup as it was, by whatever way it went.
mod formats;
/// A restore that goes on after errors, or searches schemas while it loads.
mod keep_going;
/// The roles that a dump names.
mod named_roles;
/// What a database is like that is not there, by what is asked for and what is known of the backup.
mod properties;
/// Whose manifest it is that lies beside a file.
mod replaced;
/// Databases that are replicated are replaced on request only.
mod replication;
/// The one line that says why a load has failed, and loads that are tried once more.
mod restore_causes;
/// Whatever breaks in the middle of a restore, the target is wholly the old one or wholly the new one.
mod restore_faults;
/// Restores that are killed, and what the next start makes of them.
mod restore_kills;
/// What a role may restore that is no superuser.
mod restore_rights;
/// SQL of the user's own, before and after the load.
mod restore_scripts;
/// What a database says of itself holds while it is loaded, and keeps its encoding.
mod restore_settings;
/// The database that comes back is the one that was backed up, whatever it is like.
mod round_trips;
/// Dumps of a whole server, and of its roles.
mod server_dumps;
/// A whole server, or its roles, comes back where it is missing, or nothing of it does.
mod server_restores;
/// A restore from a volume that is read-only or full.
mod volume;

/// The clients, proxies and generators that there are.
mod clients;
/// The API as its document and its client know it.
mod contract;

/// Who may ask.
mod auth;
/// The listing, the downloads and the deletions.
mod catalog;
/// What the API may change, what it may not, and that a change is made whole or not at all.
mod config;
/// The scripts for users of the API.
mod curl_examples;
/// What no client can do, and what every client gets.
mod gate;
/// The runs of the past, whoever asked for them.
mod history;
/// The API's jobs: the queue, the live log, cancelling, and the scheduler's supervision.
mod jobs;
/// Log lines for programs that collect them.
mod log_lines;
/// What Prometheus is told.
mod metrics;
/// Names that would write lines of their own.
mod names;
/// No wait of a request ends the API.
mod pool;
/// A backup is proven by restoring it into a server of its own.
mod proofs;
/// What the token for reading opens.
mod read_token;
/// What programs print is handed on without secrets.
mod redaction;
/// Another schedule for a running scheduler, ours or a foreign one.
mod schedule_changes;
/// Where a secret may not appear.
mod secrets;
/// What is refused before anything runs.
mod settings;
/// What somebody who writes to the volume can put in the way of a run.
mod swapped;
/// What somebody who writes to the volume can put in the place of a record.
mod tampered;
/// Backups go to Telegram and come back, whatever their size.
mod telegram;
/// What a terminal is shown, and what everything else.
mod terminal;
/// What no path may reach.
mod traversal;
/// From the original image and back again.
mod upgrade;
/// Backups are read again, and what came of it is remembered.
mod verify;
/// Who is told of a run by curl, and what curl may not tell the log.
mod webhooks;

/// Runs, hooks and peers that hang: what is said of them, and what ends them.
mod hangs;
/// What a hostile reader of the code has found.
mod hardening;
/// When the health check says that something is wrong, and what.
mod health;
/// What is wrong is told everywhere, also where it cannot be written down.
mod problems;
/// How a run went is written down whole, whatever happens meanwhile.
mod status_steps;

/// What a clock that is wrong may not do.
mod clock;

/// A run that is struck by a fault is red everywhere, or its backup restores.
mod random_faults;

/// Killed programs leave no half backup.
mod crash;
/// A run that dies has failed, and all are told.
mod deaths;
/// The daemon as the first process of a container.
mod pid1;
/// The daemon stops in order.
mod shutdown;
/// Hostile crowds, and probes that must not notice them.
mod siege;
/// What killed runs have left is gone after the next start.
mod starts;
