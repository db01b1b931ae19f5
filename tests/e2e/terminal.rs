//! What a terminal is shown, and what everything else.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::pty::openpty;

use crate::harness::*;

/// `backupgram` with standard output and standard error on a terminal of its own.
struct OnTerminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl OnTerminal {
    fn start(settings: &[(String, String)], more: &[(&str, &str)], arguments: &[&str]) -> Self {
        let terminal = openpty(None, None).expect("open a terminal");
        let mut command = Command::new(env!("CARGO_BIN_EXE_backupgram"));
        command.env_clear().envs(settings.iter().cloned()).env("TERM", "xterm").envs(more.iter().copied());
        command.args(arguments).stdin(Stdio::null());
        command.stdout(terminal.slave.try_clone().unwrap()).stderr(terminal.slave);
        let child = command.spawn().expect("start backupgram");
        guardian::watch(child.id(), "KILL");
        // Our own copies of the terminal's other end: it ends with the program.
        drop(command);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        let mut master = std::fs::File::from(terminal.master);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The end is an error (EIO) on a terminal.
            while let Ok(length @ 1..) = master.read(&mut chunk) {
                sink.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { child, shown, reader: Some(reader) }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn wait(mut self) -> String {
        let status = wait_for("backupgram to end", LONG, || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        let shown = self.shown();
        assert!(status.success(), "{status}\n{shown}");
        shown
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

    let list = |more: &[(&str, &str)]| OnTerminal::start(&settings, more, &["list"]).wait();
    let plain = Cli::new(server, &store).args(["list"]).run().succeeded().stdout;
    assert!(plain.contains("last/") && !plain.contains('\x1b'), "{plain:?}");
    assert!(list(&[]).contains("\x1b[1m") && list(&[("NO_COLOR", "")]).contains("\x1b[1m"));
    for refusal in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert_eq!(list(&[refusal]).replace('\r', "").lines().next(), plain.lines().next(), "{refusal:?}");
        assert!(!list(&[refusal]).contains('\x1b'), "{refusal:?}");
    }
}
