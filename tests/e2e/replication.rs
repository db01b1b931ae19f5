//! Databases that are replicated are replaced on request only, and go on where they are not replaced.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::*;

/// A publisher and its subscriber, of the same version.
struct Pair {
    publisher: Cluster,
    subscriber: Cluster,
    store: Store,
}

/// The database on both servers, its subscription, and the slot at the publisher.
const DATABASE: &str = "replicated";
const SUBSCRIPTION: &str = "from \"over there\"";
const SLOT: &str = "to_the_other";
/// A slot that nobody reads.
const IDLE_SLOT: &str = "idle";

impl Pair {
    fn start(major: u32) -> Self {
        let settings = "wal_level=logical\nmax_replication_slots=5\nmax_wal_senders=5\nwal_retrieve_retry_interval=100ms";
        let start = || Cluster::start_with(major, &[], settings);
        let pair = Self { publisher: start(), subscriber: start(), store: Store::new() };
        for server in [&pair.publisher, &pair.subscriber] {
            server.sql("postgres", &format!("CREATE DATABASE {DATABASE}"));
            server.sql(
                DATABASE,
                "CREATE TABLE rows (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)",
            );
        }
        pair.publish();
        pair.subscribe();
        pair
    }

    fn publish(&self) {
        self.publisher.sql(
            DATABASE,
            &format!(
                "CREATE PUBLICATION all_rows FOR TABLE rows;
                 SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput'),
                        pg_create_logical_replication_slot('{IDLE_SLOT}', 'pgoutput')"
            ),
        );
    }

    fn subscribe(&self) {
        let publisher = &self.publisher;
        let connection = format!(
            "host=127.0.0.1 port={} user=backup_login password={} dbname={DATABASE}",
            publisher.port(),
            publisher.password()
        );
        let name = quoted(SUBSCRIPTION);
        self.subscriber.sql(
            DATABASE,
            &format!(
                "CREATE SUBSCRIPTION {name} CONNECTION '{connection}' PUBLICATION all_rows
                 WITH (create_slot = false, slot_name = {SLOT}, copy_data = false)"
            ),
        );
    }

    /// Publishes a row, and waits until it has arrived.
    #[track_caller]
    fn passes(&self, row: u32) {
        self.publisher.sql(DATABASE, &format!("INSERT INTO rows VALUES ({row})"));
        wait_until(&format!("row {row} to arrive"), LONG, || {
            self.subscriber.sql(DATABASE, &format!("SELECT count(*) FROM rows WHERE id = {row}")) == "1"
        });
    }

    /// Backs the database up on a server, and answers `SLOT/NAME`.
    fn backed_up(&self, server: &Cluster, options: &str) -> String {
        let known = self.store.dated("last");
        Cli::backup(server, &self.store, DATABASE).env("POSTGRES_EXTRA_OPTS", options).run().succeeded();
        let new = self.store.dated("last").into_iter().find(|name| !known.contains(name)).unwrap();
        format!("last/{new}")
    }

    fn slots(&self) -> String {
        self.publisher.sql(
            "postgres",
            "SELECT coalesce(string_agg(slot_name, ',' ORDER BY slot_name), '') FROM pg_replication_slots",
        )
    }

    fn subscriptions(&self) -> String {
        let all = "SELECT coalesce(string_agg(subname || ' ' || subenabled || ' ' || datname, ','), '')
                   FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid";
        self.subscriber.sql("postgres", all)
    }

    /// Nothing of it has changed.
    #[track_caller]
    fn goes_on(&self, row: u32) {
        assert_eq!(self.subscriptions(), format!("{SUBSCRIPTION} true {DATABASE}"));
        assert_eq!(self.slots(), format!("{IDLE_SLOT},{SLOT}"));
        self.passes(row);
    }

    fn restore(&self, server: &Cluster, file: &str) -> Cli {
        Cli::restore(server, &self.store, file)
    }
}

const OIDS: &str = "SELECT oid FROM pg_database WHERE datname = 'replicated'";

fn a_replicated_target_is_refused_and_replaced_on_request(major: u32) {
    let pair = Pair::start(major);
    pair.passes(1);
    let subscribed = pair.backed_up(&pair.subscriber, "-Fc");
    let published = pair.backed_up(&pair.publisher, "-Z1");
    let of_subscriber = format!("database {DATABASE} has subscriptions {SUBSCRIPTION}, which would");
    let of_publisher = format!("database {DATABASE} has replication slots {IDLE_SLOT}, {SLOT}, which would");
    let sides =
        [(&pair.subscriber, &subscribed, &of_subscriber), (&pair.publisher, &published, &of_publisher)];
    for (server, file, said) in sides {
        let before = server.sql("postgres", OIDS);
        for options in [&["--dry-run"][..], &[], &["--keep-previous"], &["--dry-run", "--keep-previous"]] {
            let refused = pair.restore(server, file).args(options).run().exited_with(1);
            let error = refused.stderr.lines().last().unwrap();
            assert!(error.contains(said) && error.contains("--drop-replication"), "{refused}");
            assert!(!refused.text().contains("loading"), "{refused}");
        }
        let daemon = Plan::new(server, &pair.store).database(DATABASE).start();
        let job = daemon.failed(&daemon.start_restore(file, DATABASE));
        assert!(job["error"].as_str().unwrap().contains(said), "{job:#}");
        assert_eq!(server.sql("postgres", OIDS), before);
    }
    pair.goes_on(2);
    let rehearsed = pair
        .restore(&pair.subscriber, &subscribed)
        .args(["--dry-run", "--drop-replication"])
        .run()
        .succeeded();
    let announced = format!("; its subscriptions {SUBSCRIPTION} will be dropped");
    assert!(rehearsed.text().contains(&announced), "{rehearsed}");
    pair.goes_on(3);

    // By the API, keeping the old one, whose subscription must not go on.
    let daemon = Plan::new(&pair.subscriber, &pair.store).database(DATABASE).start();
    let body = json!({"file": subscribed, "target_db": DATABASE, "confirm": true, "keep_previous": true,
                      "drop_replication": true});
    let job = daemon.succeeded(&job_id(&daemon.post("/restore", &body).expect(202)));
    let log =
        job["log_tail"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>();
    let told = format!(
        "warning: subscription {SUBSCRIPTION} is dropped; its slot is still at the publisher: there, \
                        run SELECT pg_drop_replication_slot('{SLOT}')"
    );
    assert!(log.contains(&told.as_str()), "{log:#?}");
    // The one in the backup is back, and does nothing until somebody says so.
    assert_eq!(pair.subscriptions(), format!("{SUBSCRIPTION} false {DATABASE}"));
    let kept =
        pair.subscriber.databases().into_iter().find(|name| name.starts_with("replicated_before_")).unwrap();
    assert_eq!(pair.subscriber.sql(&kept, "SELECT count(*) FROM rows"), "3");
    assert_eq!(pair.subscriber.sql(DATABASE, "SELECT count(*) FROM rows"), "1");
    // What comes meanwhile waits at the publisher, as its slot is there.
    pair.publisher.sql(DATABASE, "INSERT INTO rows VALUES (4)");
    let name = quoted(SUBSCRIPTION);
    pair.subscriber.sql(
        DATABASE,
        &format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}"),
    );
    pair.subscribe();
    wait_until("the row that had waited", LONG, || {
        pair.subscriber.sql(DATABASE, "SELECT count(*) FROM rows WHERE id = 4") == "1"
    });

    // The publisher, while its slot is in use.
    let done = pair.restore(&pair.publisher, &published).args(["--drop-replication"]).run().succeeded();
    for slot in [SLOT, IDLE_SLOT] {
        let told = format!("replication slot {slot} is dropped; its subscriber gets no more changes");
        assert!(done.text().contains(&told), "{done}");
    }
    assert_eq!(pair.slots(), "");
    assert_eq!(pair.publisher.sql(DATABASE, "SELECT count(*) FROM rows"), "1");
    for server in [&pair.subscriber, &pair.publisher] {
        server.assert_no_scratch_database_is_left();
    }
}

#[test]
fn a_replicated_target_is_replaced_on_request_on_postgresql_15() {
    a_replicated_target_is_refused_and_replaced_on_request(15);
}

#[test]
fn a_replicated_target_is_replaced_on_request_on_postgresql_18() {
    a_replicated_target_is_refused_and_replaced_on_request(18);
}

#[test]
fn a_subscription_goes_on_when_the_exchange_fails_or_is_killed() {
    let pair = Pair::start(18);
    let server = &pair.subscriber;
    let gate = server.database("gate").gate();
    server.sql(DATABASE, &gate.sql());
    pair.passes(1);
    let file = pair.backed_up(server, "-Fc --no-subscriptions");
    let restore = || pair.restore(server, &file).args(["--drop-replication"]);
    let is_stopped = || pair.subscriptions() == format!("{SUBSCRIPTION} false {DATABASE}");

    gate.shut();
    let running = restore().start();
    wait_until("the load", LONG, || running.text().contains("loading into"));
    server.sql(DATABASE, "BEGIN; CREATE TABLE late (x int); PREPARE TRANSACTION 'late'");
    gate.open();
    let failed = running.wait().exited_with(1);
    assert!(failed.stderr.contains(&format!("cannot replace database {DATABASE}: ")), "{failed}");
    assert!(failed.text().contains(&format!("subscription {SUBSCRIPTION} is enabled again")), "{failed}");
    server.sql(DATABASE, "ROLLBACK PREPARED 'late'");
    pair.goes_on(2);

    // It is killed while it waits for those who will not leave.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        gate.shut();
        let mut running = restore().start();
        wait_until("the load", LONG, || running.text().contains("loading into"));
        server.sql(DATABASE, "BEGIN; CREATE TABLE late (x int); PREPARE TRANSACTION 'late'");
        gate.open();
        wait_until("the subscription to be stopped", LONG, || {
            assert!(running.poll().is_none(), "{}", running.text());
            is_stopped()
        });
        running.signal(signal);
        let killed = running.wait();
        server.sql(DATABASE, "ROLLBACK PREPARED 'late'");
        if signal == Signal::SIGKILL {
            assert!(is_stopped(), "{killed}");
            let swept = Cli::new(server, &pair.store).args(["sweep"]).run().succeeded();
            assert!(
                swept.text().contains(&format!("subscription {SUBSCRIPTION} is enabled again")),
                "{swept}"
            );
        }
        pair.goes_on(3 + u32::from(signal == Signal::SIGTERM));
    }
    server.assert_no_scratch_database_is_left();
    restore().run().succeeded();
    assert_eq!(pair.subscriptions(), "");
}

#[test]
fn what_a_killed_restore_had_yet_to_drop_of_a_replaced_database_goes() {
    let pair = Pair::start(15);
    pair.passes(1);
    for (server, kept) in [(&pair.subscriber, true), (&pair.publisher, false), (&pair.publisher, true)] {
        if server.port() == pair.publisher.port() {
            pair.publisher.sql(
                DATABASE,
                &format!(
                    "SELECT pg_create_logical_replication_slot(name, 'pgoutput')
                          FROM unnest(ARRAY['{SLOT}', '{IDLE_SLOT}']) name
                          WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = name)"
                ),
            );
        }
        let file = pair.backed_up(server, "-Fc --no-subscriptions");
        let old = server.sql("postgres", OIDS);
        let options: &[&str] =
            if kept { &["--drop-replication", "--keep-previous"] } else { &["--drop-replication"] };
        let mut running = pair.restore(server, &file).args(options).start();
        // As soon as the new one has the name.
        while server.sql("postgres", OIDS) == old {
            assert!(running.poll().is_none(), "{}", running.text());
        }
        running.signal(Signal::SIGKILL);
        running.wait();
        Cli::new(server, &pair.store).args(["sweep"]).run().succeeded();
        match server.port() == pair.publisher.port() {
            true => assert_eq!(pair.slots(), ""),
            false => assert_eq!(pair.subscriptions(), ""),
        }
        let kept_ones = server.databases().iter().filter(|name| name.contains("_before_")).count();
        assert_eq!(kept_ones > 0, kept);
        server.assert_no_scratch_database_is_left();
        assert!(
            std::fs::read_dir(pair.store.path())
                .unwrap()
                .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with(".restore-") })
        );
    }
}

#[test]
fn who_may_not_drop_replication_is_told_before_the_load() {
    let pair = Pair::start(15);
    let server = &pair.publisher;
    pair.passes(1);
    server.sql(
        "postgres",
        &format!("CREATE ROLE app LOGIN CREATEDB PASSWORD 'app'; ALTER DATABASE {DATABASE} OWNER TO app"),
    );
    pair.subscriber.sql(
        "postgres",
        &format!("CREATE ROLE app LOGIN CREATEDB PASSWORD 'app'; ALTER DATABASE {DATABASE} OWNER TO app"),
    );
    for (server, said) in [
        (
            server,
            "role app cannot drop replication slots, which it must to replace database replicated: run ALTER ROLE app REPLICATION",
        ),
        (&pair.subscriber, "role app cannot drop these subscriptions of database replicated: from"),
    ] {
        server.sql(DATABASE, "GRANT pg_read_all_data TO app");
        let file = pair.backed_up(server, "-Fc --no-subscriptions");
        for options in [&["--dry-run", "--drop-replication"][..], &["--drop-replication"]] {
            let restore =
                pair.restore(server, &file).env("POSTGRES_USER", "app").env("POSTGRES_PASSWORD", "app");
            let refused = restore.args(options).run().exited_with(1);
            assert!(refused.stderr.lines().last().unwrap().contains(said), "{refused}");
            assert!(!refused.text().contains("loading"), "{refused}");
        }
    }
    pair.goes_on(2);
}
