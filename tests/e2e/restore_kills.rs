//! Restores that are killed at random moments, in the ordinary way and under the target's own name: once `backupgram sweep`
//! has run, as at the next start, there is the old database or the new one. `scripts/soak.sh restore` does it for longer.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::extensions::{make_cron_database, start_with_cron};
use crate::harness::*;

/// Kills of each kind of backup, unless `BACKUPGRAM_E2E_ROUNDS` says how many there are in all.
const ROUNDS: usize = 4;
const FORMATS: [&str; 3] = ["-Z1", "-Fc", "-Fd"];

/// What the target has and its backups have not.
const LATER: &str = "CREATE TABLE later AS SELECT 1 AS one";

/// Kills restores over the database, one after the other, and looks at it after each.
fn killed_restores(server: &Cluster, database: &Database<'_>) {
    let rounds = std::env::var("BACKUPGRAM_E2E_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut moments = Moments::new();
    let new = database.dump();
    database.sql(LATER);
    let old = database.dump();
    database.sql("DROP TABLE later");
    let backups = FORMATS.map(|options| {
        let store = Store::new();
        Cli::backup(server, &store, &database.name).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
        let file = format!("last/{}", store.only("last"));
        let start = Instant::now();
        Cli::restore(server, &store, &file).run().succeeded();
        (options, store, file, start.elapsed())
    });
    database.sql(LATER);
    let (mut killed, mut replaced) = (0, 0);
    for round in 0..rounds.unwrap_or(ROUNDS * FORMATS.len()) {
        let (options, store, file, undisturbed) = &backups[round % backups.len()];
        let moment = moments.within(*undisturbed);
        let mut running = Cli::restore(server, store, file).start();
        pass(moment, || running.poll().is_some());
        running.signal(Signal::SIGKILL);
        let outcome = running.wait();
        killed += usize::from(outcome.status.is_some_and(|status| !status.success()));
        settle(server);
        // The next start, or the next run of whatever kind.
        let next = if round % 2 == 0 { "sweep" } else { "backup" };
        let swept = Cli::new(server, store).env("POSTGRES_DB", "postgres").args([next]).run();
        let what = format!(
            "round {round}, {options}, killed after {moment:?} of {undisturbed:?}:\n{outcome}\n{swept}"
        );
        assert!(server.has_database(&database.name), "the database is gone, {what}{:?}", server.databases());
        let now = database.dump();
        assert!(now == old || now == new, "neither the old nor the new, {what}");
        let left = server.databases().into_iter().filter(|name| name.starts_with("_backupgram_"));
        assert_eq!(left.count(), 0, "a database is left, {what}");
        assert!(journals(store).is_empty(), "{:?} is left, {what}", journals(store));
        if now == new {
            replaced += 1;
            database.sql(LATER);
        }
    }
    println!("{killed} killed in time, {replaced} replaced");
    assert!(killed > 0);
}

/// The server ends by itself what a killed restore had begun: a rename, or the end of its sessions.
fn settle(server: &Cluster) {
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%backupgram%'";
    wait_until("the server to end its sessions", LONG, || server.sql("postgres", sessions) == "0");
}

fn journals(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".restore-")).collect()
}

#[test]
fn a_killed_restore_leaves_the_old_or_the_new_database() {
    let server = Cluster::start(15);
    let database = server.database("killed");
    database.fill(4_000);
    killed_restores(&server, &database);
}

#[test]
fn a_killed_restore_under_the_targets_own_name_leaves_the_old_or_the_new_database() {
    let Some(server) = start_with_cron() else { return };
    let database = make_cron_database(&server);
    database.fill(4_000);
    killed_restores(&server, &database);
}
