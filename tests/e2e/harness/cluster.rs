//! Real PostgreSQL servers: one shared per major version, and private ones for the tests that break theirs.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User};
use tempfile::TempDir;

use super::fake_clock::FakeClock;
use super::guardian;
use super::mount::SmallDisk;
use super::process::signal_pid;
use super::wait::{LONG, SOON, wait_until};

/// The superuser that backups log in as.
pub const LOGIN: &str = "backup_login";

/// The password of [`LOGIN`] on every server of these tests.
fn password() -> &'static str {
    static PASSWORD: OnceLock<String> = OnceLock::new();
    PASSWORD.get_or_init(|| random_hex(16))
}

/// A running server of one major version, reachable by password on the loopback.
pub struct Cluster {
    programs: PathBuf,
    major: u32,
    port: u16,
    password: String,
    root: TempDir,
    data: PathBuf,
    /// More of its programs' environment.
    variables: Vec<(&'static str, PathBuf)>,
    postmaster: Mutex<Option<Child>>,
}

impl Cluster {
    /// The server of this major version that all tests share. Nobody stops it or changes its settings.
    pub fn shared(major: u32) -> &'static Self {
        static SERVERS: [OnceLock<Cluster>; 4] = [const { OnceLock::new() }; 4];
        let at = usize::try_from(major).ok().and_then(|major| major.checked_sub(15));
        let server = at.and_then(|at| SERVERS.get(at));
        server
            .unwrap_or_else(|| panic!("no test shares a server of version {major}"))
            .get_or_init(|| Self::start(major))
    }

    /// A server for the caller alone.
    pub fn start(major: u32) -> Self {
        Self::start_with(major, &[], "")
    }

    /// The same with more arguments for initdb, and lines at the end of `postgresql.conf`.
    pub fn start_with(major: u32, initdb: &[&str], settings: &str) -> Self {
        Self::start_from(program_directory(major), major, initdb, settings)
    }

    /// The same from the programs in another directory, which may have no client's.
    pub fn start_from(programs: PathBuf, major: u32, initdb: &[&str], settings: &str) -> Self {
        let cluster = Self::prepare(programs, major, initdb);
        let path = cluster.data.join("postgresql.conf");
        let mut file = File::options().append(true).open(path).expect("open postgresql.conf");
        writeln!(file, "{settings}").expect("write postgresql.conf");
        cluster.run();
        cluster
    }

    /// The same with another clock.
    pub fn start_with_clock(major: u32, clock: &FakeClock) -> Self {
        let mut cluster = Self::prepare(program_directory(major), major, &[]);
        cluster.variables = clock.variables().into();
        cluster.run();
        cluster
    }

    /// A standby of this server, for the caller alone.
    pub fn standby(&self) -> Self {
        let root = guardian::quick_directory("standby-");
        let (user, data) = (server_user(), root.path().join("data"));
        chown(root.path(), Some(user.0.as_raw()), Some(user.1.as_raw())).expect("chown to the server's user");
        let output = self
            .server_program("pg_basebackup")
            .envs([("PGHOST", "127.0.0.1"), ("PGUSER", LOGIN), ("PGPASSWORD", &self.password)])
            .env("PGPORT", self.port.to_string())
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .expect("start pg_basebackup");
        assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        let password = self.password.clone();
        let postmaster = Mutex::new(None);
        let (programs, major, variables) = (self.programs.clone(), self.major, Vec::new());
        let standby =
            Self { programs, major, port: free_port(), password, root, data, variables, postmaster };
        standby.run();
        standby
    }

    /// A server that does not run yet.
    fn prepare(programs: PathBuf, major: u32, initdb: &[&str]) -> Self {
        let root = guardian::quick_directory("server-");
        let data = root.path().join("data");
        let cluster = Self {
            programs,
            major,
            port: free_port(),
            password: password().to_owned(),
            root,
            data,
            variables: Vec::new(),
            postmaster: Mutex::new(None),
        };
        cluster.init(initdb);
        cluster
    }

    /// A server for the caller alone whose databases, and nothing else of it, lie on a disk of `mebibytes`;
    /// nothing, loudly, where that cannot be made.
    pub fn start_on_small_disk(major: u32, mebibytes: u32) -> Option<(Self, SmallDisk)> {
        let cluster = Self::prepare(program_directory(major), major, &[]);
        let (base, away) = (cluster.data.join("base"), cluster.data.join("base.away"));
        fs::rename(&base, &away).expect("move the databases away");
        fs::create_dir(&base).expect("make a place for the disk");
        let disk = SmallDisk::mount(&base, mebibytes)?;
        let copied = Command::new("cp").args(["-a", "-T"]).arg(&away).arg(&base).status();
        assert!(copied.expect("start cp").success(), "copy the databases to the small disk");
        cluster.run();
        Some((cluster, disk))
    }

    /// Makes its data directory: by initdb, and without arguments for that as a copy of one that it has made before.
    fn init(&self, more: &[&str]) {
        static TEMPLATES: Mutex<BTreeMap<PathBuf, TempDir>> = Mutex::new(BTreeMap::new());
        if !more.is_empty() {
            return self.init_by_initdb(self.root.path(), more);
        }
        let mut templates = TEMPLATES.lock().expect("no thread panics while it makes a template");
        let template = templates.entry(self.programs.clone()).or_insert_with(|| {
            let root = guardian::quick_directory("template-");
            self.init_by_initdb(root.path(), more);
            root
        });
        for name in ["data", "wal"] {
            let (from, to) = (template.path().join(name), self.root.path().join(name));
            let copied = Command::new("cp").args(["-a", "-T"]).arg(from).arg(to).status();
            assert!(copied.expect("start cp").success(), "copy {name} of the template");
        }
        let wal = self.data.join("pg_wal");
        fs::remove_file(&wal).expect("remove the link to the template's WAL");
        symlink(self.root.path().join("wal"), wal).expect("link to the WAL");
        self.give_away(self.root.path());
    }

    fn give_away(&self, path: &Path) {
        let user = server_user();
        chown(path, Some(user.0.as_raw()), Some(user.1.as_raw())).expect("chown to the server's user");
    }

    fn init_by_initdb(&self, root: &Path, more: &[&str]) {
        let (data, password_file) = (root.join("data"), root.join("password"));
        fs::create_dir(&data).expect("make the data directory");
        fs::write(&password_file, password()).expect("write the password file");
        [root, &data, &password_file].into_iter().for_each(|path| self.give_away(path));
        let output = self
            .server_program("initdb")
            .args(["--username", LOGIN, "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-instructions"])
            .arg(format!("--pgdata={}", data.display()))
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(format!("--waldir={}", root.join("wal").display()))
            .args(more)
            .output()
            .expect("start initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the server, again after [`Cluster::stop`] or [`Cluster::kill`], on the port it always had.
    pub fn run(&self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("open the server's log");
        let mut command = self.server_program("postgres");
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "full_page_writes=off",
            "autovacuum=off",
            "max_prepared_transactions=2",
        ] {
            command.args(["-c", setting]);
        }
        let child = command.stdout(log.try_clone().expect("share the log")).stderr(log).spawn();
        let child = child.expect("start postgres");
        guardian::watch(child.id(), "QUIT");
        *self.postmaster.lock().expect("not poisoned") = Some(child);
        wait_until(&format!("the server of version {} to accept connections", self.major), SOON, || {
            self.is_ready() || self.died()
        });
        assert!(self.is_ready(), "the server ended: {}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    fn is_ready(&self) -> bool {
        let mut command = self.client_program("pg_isready", "postgres");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("start pg_isready").success()
    }

    fn died(&self) -> bool {
        let mut postmaster = self.postmaster.lock().expect("not poisoned");
        postmaster.as_mut().is_none_or(|child| child.try_wait().expect("ask for the server").is_some())
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("log")
    }

    /// Shuts the server down at once, ending every session.
    pub fn stop(&self) {
        self.end(Signal::SIGQUIT);
    }

    fn end(&self, signal: Signal) {
        let Some(mut child) = self.postmaster.lock().expect("not poisoned").take() else { return };
        signal_pid(child.id(), signal);
        child.wait().expect("wait for the server");
        guardian::forget(child.id());
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The password of [`LOGIN`].
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's data directory, in which its own user writes.
    pub fn data(&self) -> &Path {
        &self.data
    }

    fn server_program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.envs(self.variables.iter().cloned()).stdin(Stdio::null()).current_dir("/");
        if Uid::effective().is_root() {
            let (uid, gid) = server_user();
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }

    fn client_program(&self, name: &str, database: &str) -> Command {
        let mut command = Command::new(program_directory(self.major).join(name));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", LOGIN)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", database)
            // The limit that a database has is for others: it counts from the first statement on.
            .env("PGOPTIONS", "-c statement_timeout=0")
            .env("PGCLIENTENCODING", "UTF8");
        command
    }

    /// Runs statements, and answers what psql prints, unaligned and without titles.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        match self.try_sql(database, statements) {
            Ok(text) => text,
            Err(text) => panic!("psql on {database} of version {}: {statements}\n{text}", self.major),
        }
    }

    /// Like [`Cluster::sql`], but an error is an answer too.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut child = self
            .client_program("psql", database)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start psql");
        // A psql that cannot connect closes its input: its own words are the better error.
        let _ = child.stdin.take().expect("a pipe").write_all(statements.as_bytes());
        let output = child.wait_with_output().expect("wait for psql");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The whole database as SQL by this server's own pg_dump, without the lines that differ on every run.
    #[track_caller]
    pub fn dump(&self, database: &str) -> String {
        let output = self.client_program("pg_dump", database).output().expect("start pg_dump");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_dump of {database}: {errors}");
        without_volatile_lines(&String::from_utf8_lossy(&output.stdout))
    }

    /// Has this server's own pg_dump write a dump.
    #[track_caller]
    pub fn pg_dump(&self, database: &str, options: &[&str], to: &Path) {
        let output = self.client_program("pg_dump", database).args(options).arg("-f").arg(to).output();
        let output = output.expect("start pg_dump");
        assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A new database of the caller's own, named after `label`, dropped with the value.
    pub fn database(&self, label: &str) -> Database<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        self.database_named(&format!("{label}_{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A new database with exactly this name, which no other test may use on a shared server.
    pub fn database_named(&self, name: &str) -> Database<'_> {
        self.sql("postgres", &format!("CREATE DATABASE {}", quoted(name)));
        Database { cluster: self, name: name.to_owned() }
    }

    /// A session that stays open, in a database that is there already.
    pub fn session(&self, database: &str) -> Session {
        Session::start(self, database, &[])
    }

    /// The same, as whom the variables say.
    pub fn session_as(&self, database: &str, login: &[(&str, &str)]) -> Session {
        Session::start(self, database, login)
    }

    /// Somebody who connects to a database again and again until the value is dropped, as whom the variables say.
    pub fn insist(&self, database: &str, login: &[(&str, &str)]) -> Insistent {
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (over, count) = (Arc::clone(&stop), Arc::clone(&connections));
        let mut command = self.client_program("psql", database);
        command.env_remove("PGOPTIONS").envs(login.iter().copied()).args([
            "-X",
            "-q",
            "-c",
            "SELECT pg_sleep(0.2)",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if command.status().expect("start psql").success() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Insistent { stop, connections, thread: Some(thread) }
    }

    /// Somebody who stays in every scratch database that there is, and comes back when sent away, until the value is
    /// dropped.
    pub fn intrude(&self) -> Insistent {
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (over, count) = (Arc::clone(&stop), Arc::clone(&connections));
        let scratch = "SELECT datname FROM pg_database WHERE datname LIKE '\\_backupgram\\_scratch\\_%'";
        let mut look = self.client_program("psql", "postgres");
        look.args(["-X", "-A", "-t", "-c", scratch]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut stay = self.client_program("psql", "postgres");
        stay.args(["-X", "-c", "SELECT pg_sleep(600)"]);
        stay.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let thread = std::thread::spawn(move || {
            let mut sessions: HashMap<String, Child> = HashMap::new();
            while !over.load(Ordering::Relaxed) {
                sessions.retain(|_, psql| psql.try_wait().expect("ask for psql").is_none());
                let names = look.output().expect("start psql").stdout;
                for name in String::from_utf8_lossy(&names).lines() {
                    sessions.entry(name.to_owned()).or_insert_with(|| {
                        count.fetch_add(1, Ordering::Relaxed);
                        stay.env("PGDATABASE", name).spawn().expect("start psql")
                    });
                }
            }
            for mut psql in sessions.into_values() {
                let _ = psql.kill();
                let _ = psql.wait();
            }
        });
        Insistent { stop, connections, thread: Some(thread) }
    }

    /// How many sessions of [`Cluster::intrude`] there are.
    pub fn intruders(&self) -> String {
        self.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'")
    }

    /// Whether a database of this name exists.
    pub fn has_database(&self, name: &str) -> bool {
        self.databases().iter().any(|database| database == name)
    }

    /// The names of all databases.
    pub fn databases(&self) -> Vec<String> {
        self.sql("postgres", "SELECT datname FROM pg_database ORDER BY 1")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until every scratch database that exists now is gone. Those of restores that other tests run on
    /// the same server go by themselves; one that was left behind never does.
    #[track_caller]
    pub fn assert_no_scratch_database_is_left(&self) {
        let scratch = "SELECT datname FROM pg_database WHERE datname LIKE '\\_backupgram\\_%'";
        let seen = self.sql("postgres", scratch);
        let left: Vec<&str> = seen.lines().collect();
        wait_until(&format!("the scratch databases {left:?} to go"), LONG, || {
            let now = self.sql("postgres", scratch);
            !now.lines().any(|name| left.contains(&name))
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end(Signal::SIGQUIT);
    }
}

/// A database that is dropped with the value.
pub struct Database<'c> {
    cluster: &'c Cluster,
    /// Its name, as it is: any legal one.
    pub name: String,
}

impl Database<'_> {
    /// Runs statements in it.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        self.cluster.sql(&self.name, statements)
    }

    /// All of it as SQL.
    #[track_caller]
    pub fn dump(&self) -> String {
        self.cluster.dump(&self.name)
    }

    /// Customers and orders with keys between them, and `rows` orders.
    pub fn fill(&self, rows: u32) {
        self.sql(&format!(
            "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL UNIQUE);
             CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, note text);
             INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(0, 9) i;
             INSERT INTO orders SELECT i, i % 10, md5(i::text) || md5((i + 1)::text)
             FROM generate_series(1, {rows}) i;"
        ));
    }

    /// Makes every dump of it wait until the session ends.
    pub fn hold(&self) -> Session {
        let mut session = self.session();
        session.run("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE;");
        session
    }

    /// Makes every restore of a dump of it wait, all rows loaded, while the gate is shut. A gate starts open.
    pub fn gate(&self) -> Gate {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gate-{number}");
        let gate = Gate { file: self.cluster.data().join(&name), number };
        gate.open();
        self.sql(&gate.sql());
        gate
    }

    /// A session that stays open.
    pub fn session(&self) -> Session {
        self.session_as(&[])
    }

    /// The same, as whom the variables say.
    pub fn session_as(&self, login: &[(&str, &str)]) -> Session {
        Session::start(self.cluster, &self.name, login)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&self.name));
        // The server may be down by now, or the test may have failed for a reason that matters more.
        let _ = self.cluster.try_sql("postgres", &statement);
    }
}

/// A client that reconnects in a loop.
pub struct Insistent {
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Insistent {
    /// How often it was let in and heard out; one that intrudes, how often it has tried.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Insistent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the client panicked");
    }
}

/// A psql that keeps its connection until it is dropped.
pub struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn start(cluster: &Cluster, database: &str, login: &[(&str, &str)]) -> Self {
        let mut command = cluster.client_program("psql", database);
        // Many poolers refuse it.
        command.env_remove("PGOPTIONS").envs(login.iter().copied());
        command.args(["-X", "-q", "-A", "-t"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("start psql");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    /// Runs statements that must not fail, and answers the lines that they print.
    pub fn run(&mut self, statements: &str) -> Vec<String> {
        const END: &str = "statements-have-ended";
        writeln!(self.input, "{statements};\n\\echo {END}").expect("write to psql");
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).expect("read from psql"),
                0,
                "psql ended: {statements}"
            );
            match line.trim_end() {
                END => return lines,
                text => lines.push(text.to_owned()),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that restores wait for.
pub struct Gate {
    file: PathBuf,
    number: u32,
}

impl Gate {
    /// Makes restores of dumps of a database wait, too, if it is of the same server.
    pub fn sql(&self) -> String {
        let (number, name) = (self.number, self.file.file_name().unwrap().to_string_lossy());
        format!(
            "CREATE FUNCTION pass_gate() RETURNS int LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM pg_catalog.pg_advisory_xact_lock_shared({number});
                 WHILE (pg_catalog.pg_stat_file('{name}', true)).size IS NULL LOOP
                     PERFORM pg_catalog.pg_sleep(0.02);
                 END LOOP;
                 RETURN 1;
             END $$;
             CREATE MATERIALIZED VIEW gate AS SELECT public.pass_gate() AS passed;"
        )
    }

    /// Whether somebody stands before it, or passes.
    pub fn is_waited_for(&self, server: &Cluster) -> bool {
        let query =
            format!("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {}", self.number);
        server.sql("postgres", &query) != "0"
    }

    /// Lets restores pass.
    pub fn open(&self) {
        File::create(&self.file).expect("open the gate");
    }

    /// Makes restores wait.
    pub fn shut(&self) {
        fs::remove_file(&self.file).expect("shut the gate");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = File::create(&self.file);
    }
}

/// A name as SQL writes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The dump without `\restrict` and `\unrestrict`, whose argument is new in every dump.
pub fn without_volatile_lines(dump: &str) -> String {
    let volatile = |line: &str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    let kept: Vec<&str> = dump.lines().filter(|line| !volatile(line)).collect();
    kept.join("\n")
}

/// Where the programs of a major version are.
pub fn program_directory(major: u32) -> PathBuf {
    let packaged = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    let fetched = PathBuf::from(format!("/var/tmp/backupgram-postgresql/{major}/bin"));
    let found = [packaged, fetched].into_iter().find(|directory| directory.join("postgres").exists());
    found.unwrap_or_else(|| panic!("PostgreSQL {major} is missing: run scripts/test.sh, which fetches it"))
}

/// Where a server of version 18 with ICU is, and only that; the fetched one that tests share was built without it.
pub fn icu_program_directory() -> Option<PathBuf> {
    let directory = PathBuf::from("/var/tmp/backupgram-postgresql/18-icu/bin");
    let found = directory.join("postgres").exists().then_some(directory);
    if found.is_none() {
        eprintln!("SKIPPED: there is no PostgreSQL 18 with ICU; scripts/test.sh fetches it by npm");
    }
    found
}

/// The user that servers run as, who must not be root.
pub fn server_user() -> (Uid, Gid) {
    if !Uid::effective().is_root() {
        return (Uid::effective(), Gid::effective());
    }
    let known = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = known.expect("a user postgres or nobody");
    (user.uid, user.gid)
}

/// A port that nobody listens on, below those that the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(97) % 18_000));
    loop {
        let step = next.fetch_add(1, Ordering::Relaxed) % 18_000;
        let port = 12_000 + u16::try_from(step).expect("below 18000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `bytes` random bytes as hexadecimal digits.
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("random bytes");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
