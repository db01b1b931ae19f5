//! go-cron, the real binary: its runs, its health port, its signals, alone and as PID 1.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

const GO_CRON: &str = env!("CARGO_BIN_EXE_go-cron");

/// Long for a machine under load; nothing waits longer than it needs to.
const DEADLINE: Duration = Duration::from_secs(30);

/// A shell function: waits until the test makes the file `release`, or is over.
const AWAIT_RELEASE: &str =
    "await() { while [ -d \"$DIR\" ] && [ ! -e \"$DIR/release\" ]; do sleep 0.05; done; }\n";

fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// One go-cron, its directory and all it said. Its runs see the directory as `DIR`.
struct GoCron {
    child: Child,
    port: u16,
    directory: TempDir,
    said: Arc<Mutex<String>>,
}

impl GoCron {
    /// Starts go-cron with `options` and a port of its own, and `script` as its command.
    fn start(options: &[&str], script: &str) -> Self {
        let port = free_port();
        let started = Self::launch(&mut Command::new(GO_CRON), options, port, script);
        wait_for("the health port", || started.connect().ok());
        started
    }

    /// Starts go-cron as the first process of a pid namespace, without a port.
    fn start_as_pid_1(options: &[&str], script: &str) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child", GO_CRON]);
        Self::launch(&mut unshare, options, 0, script)
    }

    fn launch(command: &mut Command, options: &[&str], port: u16, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        command.args(options).args(["-p", &port.to_string(), "--", "sh", "-c"]);
        command.arg(format!("{AWAIT_RELEASE}{script}"));
        command.env("DIR", directory.path()).env("TZ", "Asia/Tashkent").current_dir(directory.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().unwrap(), &said);
        listen(child.stderr.take().unwrap(), &said);
        Self { child, port, directory, said }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn release(&self) {
        std::fs::write(self.path("release"), "").unwrap();
    }

    /// The lines of a file that runs write to.
    fn lines(&self, name: &str) -> Vec<String> {
        lines(&self.path(name))
    }

    fn wait_for_lines(&self, name: &str, count: usize) -> Vec<String> {
        wait_for(&format!("{count} lines in {name}"), || {
            Some(self.lines(name)).filter(|lines| lines.len() >= count)
        })
    }

    fn wait_for_saying(&self, text: &str) {
        wait_for(&format!("'{text}' in the output"), || {
            self.said.lock().unwrap().contains(text).then_some(())
        });
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// What the health port answers: status, headers and body.
    fn ask(&self, path: &str) -> (u16, String, Value) {
        let mut stream = self.connect().unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
    }

    fn health(&self) -> (u16, Value) {
        let (status, _, body) = self.ask("/");
        (status, body)
    }

    /// Waits for a run to have ended, and answers what the health port says then.
    fn wait_for_run(&self) -> (u16, Value) {
        wait_for("a run to end", || {
            let (status, health) = self.health();
            (health["Last"]["ExitTime"] != "").then_some((status, health))
        })
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id().cast_signed(), signal);
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for("go-cron to exit", || self.child.try_wait().unwrap())
    }
}

impl Drop for GoCron {
    fn drop(&mut self) {
        // Its runs end by themselves once their directory is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("go-cron said:\n{}", self.said.lock().unwrap());
        }
    }
}

fn listen(from: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            said.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Whether a process of this id is there and not a zombie.
fn alive(pid: i32) -> bool {
    process_state(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The state and the parent of a process.
fn process_state(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The children of a process, zombies too.
fn children(parent: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| process_state(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// Calls go-cron where it is expected to refuse.
fn refused(arguments: &[&str]) -> Output {
    let output = Command::new(GO_CRON).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    output
}

#[test]
fn the_command_runs_again_and_again_and_knows_what_started_it() {
    let go_cron = GoCron::start(&["-s", "@every 1s"], "echo $BACKUPGRAM_TRIGGER >> runs");
    assert_eq!(go_cron.wait_for_lines("runs", 3)[..3], ["schedule", "schedule", "schedule"]);
}

#[test]
fn the_health_port_answers_the_fields_of_the_original_on_any_path() {
    let go_cron = GoCron::start(&["-i", "-s", "0 3 1 1 *"], "echo out; echo err >&2");
    go_cron.wait_for_run();
    let (status, head, health) = go_cron.ask("/any/path?x=1");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let last = &health["Last"];
    assert_eq!(
        health,
        json!({
            "Running": {},
            "Last": {
                "Exit_status": 0, "Stdout": "out\n", "Stderr": "err\n",
                "ExitTime": last["ExitTime"], "Pid": last["Pid"], "StartingTime": last["StartingTime"],
            },
            "Schedule": "0 3 1 1 *",
        })
    );
    assert!(last["Pid"].as_i64().unwrap() > 1);
    for time in ["StartingTime", "ExitTime"] {
        let time = last[time].as_str().unwrap();
        assert!(time.len() == 25 && time.ends_with("+05:00"), "{time}");
        time.parse::<jiff::Timestamp>().unwrap();
    }
}

#[test]
fn a_failed_run_makes_the_port_answer_503_and_its_output_is_passed_on() {
    let go_cron = GoCron::start(&["-i", "-s", "@yearly"], "echo to-out; echo to-err >&2; exit 7");
    let (status, health) = go_cron.wait_for_run();
    assert_eq!((status, &health["Last"]["Exit_status"]), (503, &json!(7)));
    go_cron.wait_for_saying("to-out\n");
    go_cron.wait_for_saying("to-err\n");
}

#[test]
fn in_a_log_of_json_every_line_of_a_run_is_json_whatever_it_says() {
    let own = json!({"time": "2026-04-16T03:00:00.000Z", "level": "warn", "program": "p", "target": "t", "message": "m"});
    let script = format!(
        "echo '{own}'; echo words; echo '{{\"a\":1}}' >&2; echo; head -c 20000 /dev/zero | tr '\\0' x; echo;\n\
         printf 'open \\377'; exit 7"
    );
    let mut command = Command::new(GO_CRON);
    let options = ["-i", "-s", "@yearly"];
    let port = free_port();
    let go_cron = GoCron::launch(command.env("LOG_FORMAT", "json"), &options, port, &script);
    wait_for("the health port", || go_cron.connect().ok());
    let (_, health) = go_cron.wait_for_run();
    go_cron.wait_for_saying("exit status 7");
    let said = go_cron.said.lock().unwrap().clone();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.contains(&own), "{said}");
    let long = "x".repeat(20_000);
    for message in ["words", "{\"a\":1}", "", &long, "open \u{fffd}"] {
        let has = |line: &Value| {
            line["message"] == message && line["level"] == "info" && line["program"] == "go-cron"
        };
        assert!(lines.iter().any(has), "{message:?} in {said}");
    }
    // What is kept of a run is what it said.
    assert!(health["Last"]["Stdout"].as_str().unwrap().contains("\nwords\n\n"), "{health:#}");
}

#[test]
fn a_run_that_a_signal_ended_has_failed() {
    let go_cron = GoCron::start(&["-i", "-s", "@yearly"], "kill -TERM $$; await");
    let (status, health) = go_cron.wait_for_run();
    assert_eq!((status, &health["Last"]["Exit_status"]), (503, &json!(143)));
}

#[test]
fn a_command_that_cannot_be_started_is_a_failed_run_and_go_cron_goes_on() {
    let port = free_port().to_string();
    let mut child = Command::new(GO_CRON)
        .args(["-i", "-s", "@yearly", "-p", &port, "--", "/nowhere/at-all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    listen(child.stdout.take().unwrap(), &said);
    let go_cron =
        GoCron { child, port: port.parse().unwrap(), directory: tempfile::tempdir().unwrap(), said };
    wait_for("the health port", || go_cron.connect().ok());
    let (status, health) = go_cron.wait_for_run();
    assert_eq!((status, &health["Last"]["Exit_status"]), (503, &json!(127)));
    assert!(health["Last"]["Stderr"].as_str().unwrap().starts_with("cannot run /nowhere/at-all: "));
}

#[test]
fn a_run_at_start_is_shown_with_its_output_while_it_goes_on() {
    let go_cron = GoCron::start(&["-i", "-s", "@yearly"], "echo so-far; echo $$ > pid; await");
    let pid = go_cron.wait_for_lines("pid", 1).remove(0);
    let running = wait_for("the output so far", || {
        let (status, health) = go_cron.health();
        assert_eq!((status, &health["Last"]["Pid"]), (200, &json!(0)));
        let running = health["Running"].as_object().unwrap();
        assert_eq!(running.keys().collect::<Vec<_>>(), [&pid]);
        Some(running[&pid].clone()).filter(|run| run["Stdout"] == "so-far\n")
    });
    assert_eq!(running["ExitTime"], "");
    assert_eq!(running["Pid"].to_string(), pid);
    go_cron.release();
    let (_, health) = go_cron.wait_for_run();
    assert_eq!(health["Running"], json!({}));
}

#[test]
fn nothing_runs_at_start_unless_asked_for() {
    let go_cron = GoCron::start(&["-s", "@every 2s"], "echo run >> runs");
    assert_eq!(go_cron.health().1["Last"]["Pid"], 0);
    assert_eq!(go_cron.lines("runs"), [""; 0]);
    go_cron.wait_for_lines("runs", 1);
}

#[test]
fn a_run_that_would_overlap_is_skipped_and_logged() {
    let go_cron = GoCron::start(&["-s", "@every 1s"], "echo run >> runs; await");
    go_cron.wait_for_saying("skipped a run");
    assert_eq!(go_cron.lines("runs").len(), 1);
    go_cron.release();
    go_cron.wait_for_lines("runs", 2);
}

#[test]
fn a_process_that_left_the_run_and_keeps_its_output_open_does_not_hold_up_the_next() {
    let script = "(setsid sh -c 'while [ -d \"$DIR\" ]; do sleep 0.1; done' &); echo run >> runs";
    let go_cron = GoCron::start(&["-s", "@every 1s"], script);
    go_cron.wait_for_lines("runs", 2);
}

#[test]
fn of_a_long_output_the_last_64_kib_are_shown_and_all_is_passed_on() {
    let script = "echo first; head -c 200000 /dev/zero | tr '\\0' x; printf '\\377'; echo last";
    let go_cron = GoCron::start(&["-i", "-s", "@yearly"], script);
    let (_, health) = go_cron.wait_for_run();
    let shown = health["Last"]["Stdout"].as_str().unwrap();
    assert!(shown.len() <= 65536 && shown.len() > 65536 - 4, "{}", shown.len());
    assert!(shown.starts_with('x') && shown.ends_with("x\u{fffd}last\n"));
    go_cron.wait_for_saying("first\n");
    go_cron.wait_for_saying(&"x".repeat(200_000));
}

#[test]
fn term_reaches_the_whole_group_of_the_run_and_its_end_is_awaited() {
    // The outer shell waits for the inner one, so both have to be told.
    let script = "trap 'echo outer >> told' TERM\n\
        sh -c 'trap \"sleep 0.3; echo inner >> told; exit\" TERM; echo $$ > ready; while :; do sleep 0.05; done'\n\
        sleep 0.3; echo done >> told";
    let mut go_cron = GoCron::start(&["-i", "-s", "@every 1s"], script);
    go_cron.wait_for_lines("ready", 1);
    go_cron.signal(Signal::SIGTERM);
    assert_eq!(go_cron.wait_for_exit().code(), Some(0));
    assert_eq!(go_cron.lines("told"), ["inner", "outer", "done"]);
    assert_eq!(go_cron.lines("ready").len(), 1);
}

#[test]
fn int_and_quit_stop_it_too_and_the_run_gets_term() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let script = "trap 'echo term >> told; exit' TERM; echo ready > ready; while :; do sleep 0.05; done";
        let mut go_cron = GoCron::start(&["-i", "-s", "@yearly"], script);
        go_cron.wait_for_lines("ready", 1);
        go_cron.signal(signal);
        assert_eq!(go_cron.wait_for_exit().code(), Some(0));
        assert_eq!(go_cron.lines("told"), ["term"]);
    }
}

#[test]
fn a_run_that_ignores_term_is_killed_after_the_grace_period() {
    let script = "trap '' TERM; echo $$ > pid; while [ -d \"$DIR\" ]; do sleep 0.05; done";
    let mut go_cron = GoCron::start(&["-i", "-s", "@yearly"], script);
    let pid = go_cron.wait_for_lines("pid", 1)[0].parse().unwrap();
    go_cron.signal(Signal::SIGTERM);
    let asked = Instant::now();
    assert_eq!(go_cron.wait_for_exit().code(), Some(0));
    assert!(asked.elapsed() >= Duration::from_secs(6), "killed after {:?}", asked.elapsed());
    assert!(!alive(pid));
}

#[test]
fn hup_closes_the_port_at_once_and_lets_the_run_end_in_peace() {
    let script = "trap 'echo signal >> told' TERM HUP; echo run >> runs; await; echo end >> told";
    let mut go_cron = GoCron::start(&["-i", "-s", "@every 1s"], script);
    go_cron.wait_for_lines("runs", 1);
    // A connection that is open before must not keep the port, nor be left without an answer.
    let mut connected = go_cron.connect().unwrap();
    // Connections are accepted in order, so this answer means that the first has been.
    assert_eq!(go_cron.health().0, 200);
    go_cron.signal(Signal::SIGHUP);
    // The next scheduler gets the port while the old one still waits for its run.
    let successor = wait_for("the port", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, go_cron.port)).ok());
    assert!(go_cron.child.try_wait().unwrap().is_none());
    write!(connected, "GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connected.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(successor);
    go_cron.release();
    assert_eq!(go_cron.wait_for_exit().code(), Some(0));
    assert_eq!((go_cron.lines("told"), go_cron.lines("runs").len()), (vec!["end".into()], 1));
}

#[test]
fn hup_without_a_run_ends_it_and_term_still_stops_one_that_retires() {
    let mut idle = GoCron::start(&["-s", "@yearly"], "true");
    idle.signal(Signal::SIGHUP);
    assert_eq!(idle.wait_for_exit().code(), Some(0));

    let script = "trap 'echo term >> told; exit' TERM; echo ready > ready; await";
    let mut retiring = GoCron::start(&["-i", "-s", "@yearly"], script);
    retiring.wait_for_lines("ready", 1);
    retiring.signal(Signal::SIGHUP);
    retiring.wait_for_saying("retiring");
    retiring.signal(Signal::SIGTERM);
    assert_eq!(retiring.wait_for_exit().code(), Some(0));
    assert_eq!(retiring.lines("told"), ["term"]);
}

#[test]
fn clients_that_say_nothing_or_do_not_read_stop_nobody_else() {
    let script = "head -c 70000 /dev/zero; head -c 70000 /dev/zero >&2; touch full; await";
    let go_cron = GoCron::start(&["-i", "-s", "@yearly"], script);
    wait_for("the run's output", || go_cron.path("full").exists().then_some(()));
    // More than there are slots, so that the oldest have to give way.
    let silent: Vec<TcpStream> = (0..150).map(|_| go_cron.connect().unwrap()).collect();
    let mut deaf: Vec<TcpStream> = (0..20).map(|_| go_cron.connect().unwrap()).collect();
    for stream in &mut deaf {
        stream.write_all("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100).as_bytes()).unwrap();
    }
    for _ in 0..10 {
        assert_eq!(go_cron.health().0, 200);
    }
    drop((silent, deaf));
}

#[test]
fn what_is_no_get_is_refused_and_a_head_has_no_body() {
    let go_cron = GoCron::start(&["-s", "@yearly"], "true");
    let answer = |request: &[u8]| {
        let mut stream = go_cron.connect().unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let refused = answer(b"DELETE / HTTP/1.0\r\n\r\n");
    assert!(
        refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nAllow: GET, HEAD\r\n"),
        "{refused}"
    );
    assert!(answer(b"GET /\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(answer(b"\xff\x00\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(answer(&[b'a'; 20_000]).starts_with("HTTP/1.1 414 "));
    let head = answer(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    // What would have a server that trusts it set aside a petabyte.
    let body = answer(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000000\r\n\r\nabc");
    assert!(body.starts_with("HTTP/1.1 413 "), "{body}");
    assert_eq!(go_cron.health().0, 200);
}

#[test]
fn curl_gets_its_answer() {
    let go_cron = GoCron::start(&["-i", "-s", "@yearly"], "exit 1");
    go_cron.wait_for_run();
    let url = format!("http://127.0.0.1:{}/", go_cron.port);
    let shown = Command::new("curl").args(["-s", &url]).output().unwrap();
    let health: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(health["Last"]["Exit_status"], 1);
    assert_eq!(Command::new("curl").args(["-sf", &url]).output().unwrap().status.code(), Some(22));
}

#[test]
fn a_bad_schedule_is_refused_in_one_line_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("ran");
    for (schedule, reason) in
        [("61 * * * *", "'61' is not a minute (0-59)"), ("0 0 30 2 *", "'0 0 30 2 *' matches no date")]
    {
        let output = refused(&["-i", "-s", schedule, "-p", "0", "--", "touch", mark.to_str().unwrap()]);
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!("go-cron: invalid schedule: {reason}\n")
        );
        assert!(!mark.exists());
    }
}

#[test]
fn a_port_in_use_is_refused_in_one_line_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("ran");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let output =
        refused(&["-i", "-s", "@daily", "-p", &port.to_string(), "--", "touch", mark.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(&format!("go-cron: cannot open health port {port}: Address already in use")));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!mark.exists());
}

#[test]
fn usage_is_shown_on_request_and_mistakes_are_told_in_one_line() {
    let help = Command::new(GO_CRON).arg("-h").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"go-cron -s "));
    assert_eq!(
        refused(&["-s", "@daily"]).stderr,
        b"go-cron: no command given after -- (go-cron -h shows how to call it)\n"
    );
}

#[test]
fn a_run_outlives_a_go_cron_that_is_killed() {
    let mut go_cron = GoCron::start(&["-i", "-s", "@yearly"], "echo $$ > pid; await; echo end > end");
    let pid = go_cron.wait_for_lines("pid", 1)[0].parse().unwrap();
    go_cron.signal(Signal::SIGKILL);
    go_cron.wait_for_exit();
    assert!(alive(pid));
    go_cron.release();
    go_cron.wait_for_lines("end", 1);
}

#[test]
fn a_crowd_of_connections_is_served_also_when_few_files_may_be_open_at_first() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 40 && exec \"$0\" \"$@\"", GO_CRON]);
    let go_cron = GoCron::launch(&mut shell, &["-s", "@yearly"], free_port(), "true");
    wait_for("the health port", || go_cron.connect().ok());
    let _crowd: Vec<TcpStream> = (0..50).map(|_| go_cron.connect().unwrap()).collect();
    assert_eq!(go_cron.ask("/").0, 200);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", go_cron.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
}

#[test]
fn a_run_that_a_real_time_signal_ends_has_failed_and_the_next_one_comes() {
    let go_cron = GoCron::start(&["-s", "@every 1s"], "echo run >>\"$DIR/runs\"; kill -34 $$");
    go_cron.wait_for_lines("runs", 2);
    assert_eq!(go_cron.ask("/").0, 503);
}

#[test]
fn as_pid_1_it_reaps_a_hundred_orphans_and_stops_on_term() {
    // Each leaves the run's group before the run ends, which would take it along otherwise.
    let orphan = "echo up >> up; await; cut -d\" \" -f4 /proc/$$/stat >> parents";
    let script = format!(
        "export DIR; i=0; while [ $i -lt 100 ]; do (setsid sh -c '{AWAIT_RELEASE}{orphan}' &); i=$((i+1)); done\n\
         while [ -d \"$DIR\" ] && [ \"$(wc -l < up)\" -lt 100 ]; do sleep 0.05; done"
    );
    let mut go_cron = GoCron::start_as_pid_1(&["-i", "-s", "@yearly"], &script);
    let pid = wait_for("the child of unshare", || children(go_cron.child.id().cast_signed()).pop());
    wait_for("a hundred orphans", || (children(pid).len() == 100).then_some(()));
    go_cron.release();
    let parents = go_cron.wait_for_lines("parents", 100);
    assert!(parents.iter().all(|parent| parent == "1"), "{parents:?}");
    wait_for("every child to be reaped", || children(pid).is_empty().then_some(()));
    assert!(alive(pid));
    send(pid, Signal::SIGTERM);
    assert_eq!(go_cron.wait_for_exit().code(), Some(0));
}
