//! End-to-end tests: the real programs against real PostgreSQL servers, over real sockets and signals.
//!
//! A test's name is the sentence that it proves. `scripts/test.sh` fetches the servers that the system lacks.
#![allow(clippy::unwrap_used)]

mod harness;

/// The examples of the API's documentation, as its readers type them.
mod seed_examples;

/// What a backup publishes, keeps, prunes, refuses and reports.
mod backup;
/// A restore gives exactly the backup, or leaves everything as it was.
mod restore;

/// Who may ask.
mod auth;
/// The listing, the downloads and the deletions.
mod catalog;
/// The API's jobs: the queue, the live log, cancelling, and the scheduler's supervision.
mod jobs;
/// Where a secret may not appear.
mod secrets;
/// What is refused before anything runs.
mod settings;
/// What no path may reach.
mod traversal;

/// What a hostile reader of the code has found.
mod hardening;

/// Killed programs leave no half backup.
mod crash;
/// The daemon as the first process of a container.
mod pid1;
/// The daemon stops in order.
mod shutdown;
