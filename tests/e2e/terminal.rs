//! What a terminal is shown, and what everything else.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::pty::openpty;

use crate::harness::*;

/// `backupgram` on a terminal of its own.
struct OnTerminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl OnTerminal {
    /// With nobody at the keyboard.
    fn start(settings: &[(String, String)], more: &[(&str, &str)], arguments: &[&str]) -> Self {
        Self::start_with(settings, more, arguments, false)
    }

    fn start_with(
        settings: &[(String, String)],
        more: &[(&str, &str)],
        arguments: &[&str],
        is_typed_on: bool,
    ) -> Self {
        let terminal = openpty(None, None).expect("open a terminal");
        let mut command = Command::new(env!("CARGO_BIN_EXE_backupgram"));
        command.env_clear().envs(coverage()).envs(settings.iter().cloned()).env("TERM", "xterm");
        command.envs(more.iter().copied()).args(arguments).stdin(Stdio::null());
        if is_typed_on {
            command.stdin(terminal.slave.try_clone().unwrap());
        }
        command.stdout(terminal.slave.try_clone().unwrap()).stderr(terminal.slave);
        let child = command.spawn().expect("start backupgram");
        guardian::watch(child.id(), "KILL");
        // Our own copies of the terminal's other end: it ends with the program.
        drop(command);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        let mut master = File::from(terminal.master);
        let keyboard = master.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The end is an error (EIO) on a terminal.
            while let Ok(length @ 1..) = master.read(&mut chunk) {
                sink.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { child, keyboard, shown, reader: Some(reader) }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Types a line when it is asked for.
    #[track_caller]
    fn answer(&mut self, question: &str, line: &str) {
        wait_until(question, SOON, || {
            assert!(self.child.try_wait().unwrap().is_none(), "{question}\n{}", self.shown());
            self.shown().ends_with(question)
        });
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn wait(self) -> String {
        let (code, shown) = self.end();
        assert_eq!(code, Some(0), "{shown}");
        shown
    }

    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("backupgram to end", LONG, || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.shown())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        guardian::forget(self.child.id());
    }
}

/// The line of progress as it is drawn: erased, cut by the terminal where it is too long.
const DRAWN: &str = "\r\x1b[K\x1b[?7ldumping ";

#[test]
fn a_terminal_sees_a_line_of_progress_and_colours_and_everything_else_neither() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database_named("gr\u{f6}\u{df}e \x1b[2J");
    database.fill(5);
    let mut settings = command::settings(server, &store);
    settings.push(("POSTGRES_DB_AUTODISCOVER".to_owned(), "TRUE".to_owned()));
    let hold = database.hold();
    let running = OnTerminal::start(&settings, &[], &["backup", "--", &database.name]);
    wait_until("a line of progress", SOON, || running.shown().contains(DRAWN));
    drop(hold);
    let shown = running.wait();
    let (_, after) = shown.rsplit_once(DRAWN).unwrap();
    let (line, after) = after.split_once("\x1b[?7h").unwrap();
    assert!(line.contains("/s, 0:"), "{line:?}");
    assert!(after.starts_with("\r\x1b[K"), "it is erased before anything else: {after:?}");
    assert!(after.contains("published last/"), "{after:?}");
    assert!(!shown.contains("\x1b[2J"), "the database's name steers the terminal: {shown:?}");

    // The next one is measured by this one, and its line fits all the same.
    let hold = database.hold();
    let running = OnTerminal::start(&settings, &[], &["backup", "--", &database.name]);
    wait_until("a guess of the size", SOON, || running.shown().contains(": 0 B of about "));
    drop(hold);
    let shown = running.wait();
    let drawn: Vec<&str> =
        shown.split("\x1b[?7l").skip(1).filter_map(|line| line.split('\x1b').next()).collect();
    assert!(drawn.iter().all(|line| line.chars().count() <= 80), "{drawn:?}");

    let list = |more: &[(&str, &str)]| OnTerminal::start(&settings, more, &["list"]).wait();
    let plain = Cli::new(server, &store).args(["list"]).run().succeeded().stdout;
    assert!(plain.contains("last/") && !plain.contains('\x1b'), "{plain:?}");
    assert!(list(&[]).contains("\x1b[1m") && list(&[("NO_COLOR", "")]).contains("\x1b[1m"));
    for refusal in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert_eq!(list(&[refusal]).replace('\r', "").lines().next(), plain.lines().next(), "{refusal:?}");
        assert!(!list(&[refusal]).contains('\x1b'), "{refusal:?}");
    }
}

/// pg_restore that reads all that it is given, and then waits as long as there is a file of that name.
fn patient_pg_restore(server: &Cluster, store: &Store) -> String {
    let real = cluster::program_directory(server.major()).join("pg_restore");
    let script = format!(
        "#!/bin/sh\n\
         case \"$*\" in *--dbname*) hold=loading ;; *--format=directory*) hold=checking ;; *) hold=none ;; esac\n\
         cd '{}'\n\
         if [ -e $hold ]; then\n\
             for last; do :; done\n\
             if [ -d \"$last\" ]; then cat \"$last\"/*; else cat \"$last\"; fi >/dev/null\n\
             while [ -e $hold ]; do sleep 0.05; done\n\
         fi\n\
         exec '{}' \"$@\"\n",
        store.root().display(),
        real.display()
    );
    command::path_with_program(server, store, "pg_restore", &script)
}

#[test]
fn what_pg_restore_reads_is_seen_whatever_it_reads_it_for() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let database = server.database("reads");
    database.fill(500);
    let before = database.dump();
    let path = patient_pg_restore(server, &store);
    let mut settings = command::settings(server, &store);
    settings.push(("POSTGRES_DB".to_owned(), database.name.clone()));
    let start = |options, arguments: &[&str]| {
        OnTerminal::start(&settings, &[("PATH", &path), ("POSTGRES_EXTRA_OPTS", options)], arguments)
    };
    let hold = |what| std::fs::write(store.root().join(what), "").unwrap();
    let pass = |running: &OnTerminal, held: &str, what: &str| {
        // The beginning of a backup's name may have given way.
        let is_it = |named: &str| match named.split_once('\u{2026}') {
            Some((head, tail)) => what.starts_with(head) && what.ends_with(tail),
            None => named == what,
        };
        let is_drawn = |line: &str| line.split(": ").next().is_some_and(is_it) && line.contains(" (100 %), ");
        wait_until(what, SOON, || running.shown().split("\x1b[?7l").any(is_drawn));
        std::fs::remove_file(store.root().join(held)).unwrap();
    };
    for (options, holds) in [("-Fd", true), ("-Fc", false)] {
        if holds {
            hold("checking");
        }
        let running = start(options, &["backup", "--", &database.name]);
        if holds {
            pass(&running, "checking", &format!("checking {}", database.name));
        }
        running.wait();
        let name = format!("last/{}", store.newest("last"));
        if holds {
            hold("checking");
            let running = start(options, &["verify", &name]);
            pass(&running, "checking", &format!("verifying {name}"));
            running.wait();
        }
        // What was found whole is not read by pg_restore before it is loaded.
        hold("loading");
        let running = start(options, &["restore", "--yes", &name]);
        pass(&running, "loading", &format!("loading {name}"));
        running.wait();
        assert_eq!(database.dump(), before, "{options}");
    }
}

#[test]
fn who_names_no_file_is_shown_the_backups_and_asked_before_anything_is_replaced() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let (database, other) = (server.database("chosen"), server.database("left"));
    database.fill(20);
    other.fill(3);
    for name in [&database.name, &other.name] {
        Cli::backup(server, &store, name).run().succeeded();
    }
    let good = database.dump();
    database.sql("DROP TABLE orders");
    let changed = database.dump();
    let start =
        |arguments: &[&str]| OnTerminal::start_with(&command::settings(server, &store), &[], arguments, true);
    const WHICH_DATABASE: &str = "which database? 1 to 2, or part of its name: ";
    const WHICH: &str = "restore which one? 1 to 1, or part of its name: ";
    let choose = |running: &mut OnTerminal| {
        running.answer(WHICH_DATABASE, "3");
        running.answer(WHICH_DATABASE, "none of that name");
        running.answer(WHICH_DATABASE, &database.name[..database.name.len() - 1]);
        running.answer(WHICH, "2");
        running.answer(WHICH, "1");
    };
    let confirm = format!("type {} to go on: ", database.name);

    let mut running = start(&["restore"]);
    choose(&mut running);
    running.answer(&format!("into which database? [{}]: ", database.name), "");
    running.answer(&confirm, "yes");
    let (code, shown) = running.end();
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("nothing was restored") && shown.contains("MiB) will be replaced by last/"),
        "{shown}"
    );
    for heading in ["NO", "DATABASE", "BACKUPS", "NEWEST", "TIME", "AGE", "SIZE", "SLOT", "VERIFIED", "NAME"]
    {
        assert!(shown.contains(heading), "{shown}");
    }
    assert_eq!(database.dump(), changed);

    let mut running = start(&["restore", "--dry-run"]);
    choose(&mut running);
    running.answer(&format!("into which database? [{}]: ", database.name), "");
    assert!(running.wait().contains("dry run, nothing was changed: database"));
    assert_eq!(database.dump(), changed);

    let mut running = start(&["restore"]);
    choose(&mut running);
    running.answer(&format!("into which database? [{}]: ", database.name), "");
    running.answer(&confirm, &database.name);
    let shown = running.wait();
    assert!(shown.contains("restore succeeded"), "{shown}");
    assert_eq!(database.dump(), good);

    let copy = format!("{}_copy", database.name);
    let mut running = start(&["restore"]);
    choose(&mut running);
    running.answer(&format!("into which database? [{}]: ", database.name), &copy);
    running.answer(&format!("type {copy} to go on: "), &copy);
    assert!(running.wait().contains("will be created from last/"));
    assert_eq!(server.dump(&copy), good);
    server.sql("postgres", &format!("DROP DATABASE {copy}"));

    // A dump of unknown origin does not say which database it is of.
    let foreign = store.file("last", "foreign.dump");
    std::fs::copy(store.file("last", &store.newest("last")), &foreign).unwrap();
    let mut running = start(&["restore", "--dry-run"]);
    // It is of no known database, so it comes last.
    running.answer("which database? 1 to 3, or part of its name: ", "3");
    running.answer(WHICH, "foreign");
    running.answer("into which database? ", &copy);
    assert!(running.wait().contains(&copy));
    std::fs::remove_file(foreign).unwrap();

    let mut running = start(&["restore"]);
    running.answer(WHICH_DATABASE, "\x04");
    assert_eq!(running.end().0, Some(1), "the end of the input is no answer");
    Cli::new(server, &store).args(["restore"]).run().exited_with(2).saying("FILE is missing");
}

#[test]
fn of_many_backups_the_newest_are_shown_last_and_part_of_a_name_finds_the_others() {
    let server = Cluster::shared(15);
    let store = Store::new();
    std::fs::create_dir(store.path().join("last")).unwrap();
    for day in 1..=45 {
        let name = format!("app-202601{day:02}-120000.sql");
        std::fs::write(store.file("last", &name), "no dump").unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_268_800 + day * 86_400);
        set_modified(&store.file("last", &name), time);
    }
    let start = || {
        OnTerminal::start_with(&command::settings(server, &store), &[("NO_COLOR", "1")], &["restore"], true)
    };
    let which = |count: u32| format!("restore which one? 1 to {count}, or part of its name: ");
    let mut running = start();
    running.answer(&which(40), "nonsense");
    running.answer(&which(40), "app-2026010");
    running.answer(&which(9), "");
    running.answer(&which(9), "20260103");
    running.answer("into which database? [app]: ", "\x04");
    let (code, shown) = running.end();
    assert_eq!(code, Some(1), "{shown}");
    let shown = shown.replace('\r', "");
    assert!(shown.contains("\"nonsense\" is neither one of these numbers nor part of a name"), "{shown}");
    assert!(shown.contains("5 more are not shown"), "{shown}");
    let (first, _) = shown.split_once("5 more").unwrap();
    assert!(first.trim_end().ends_with("app-20260145-120000.sql"), "the newest is the last: {first}");
    assert!(!first.contains("app-20260105"), "{first}");
    // What is typed ends a question's line or does not, as the terminal comes to show it.
    let mut rows = shown.lines().filter(|line| !line.contains(" which one? "));
    assert!(rows.all(|line| line.chars().count() <= 80), "{shown}");
}
