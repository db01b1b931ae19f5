//! pgbouncer in front of a server.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tempfile::TempDir;

use super::cluster::{Cluster, LOGIN, free_port, server_user};
use super::guardian;
use super::process::signal_pid;
use super::wait::{SOON, wait_until};

/// A running pgbouncer.
pub struct Pooler {
    port: u16,
    process: Child,
    root: TempDir,
}

impl Pooler {
    /// Starts one as Debian configures it, but for where it listens and the `settings`, a line each. It knows [`LOGIN`]
    /// and `logins`, each with its password.
    pub fn start(server: &Cluster, settings: &str, logins: &[(&str, &str)]) -> Self {
        Self::start_for(server, &["*"], settings, logins)
    }

    /// The same, for these databases and no other.
    pub fn start_for(server: &Cluster, databases: &[&str], settings: &str, logins: &[(&str, &str)]) -> Self {
        let root = guardian::directory("pooler-");
        let path = |name: &str| root.path().join(name).display().to_string();
        let port = free_port();
        let lines = databases.iter().map(|name| format!("{name} = host=127.0.0.1 port={}\n", server.port()));
        let databases: String = lines.collect();
        let configuration = format!(
            "[databases]\n{databases}[pgbouncer]\nlogfile = {}\npidfile = {}\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = md5\nauth_file = {}\n\
             {settings}\n",
            path("log"),
            path("pid"),
            path("users"),
        );
        fs::write(path("ini"), configuration).expect("write the pooler's configuration");
        let users = [(LOGIN, server.password())].into_iter().chain(logins.iter().copied());
        let users: String = users.map(|(user, password)| format!("\"{user}\" \"{password}\"\n")).collect();
        fs::write(path("users"), users).expect("write the pooler's users");
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| fs::exists(path).is_ok_and(|is| is));
        let mut command =
            Command::new(program.expect("pgbouncer is missing: run scripts/test.sh, which fetches it"));
        command.arg("--quiet").arg(path("ini")).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if Uid::effective().is_root() {
            let (uid, gid) = server_user();
            for name in ["", "ini", "users"] {
                chown(root.path().join(name), Some(uid.as_raw()), Some(gid.as_raw()))
                    .expect("chown to the pooler's user");
            }
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        let process = command.spawn().expect("start pgbouncer");
        guardian::watch(process.id(), "KILL");
        let mut pooler = Self { port, process, root };
        wait_until("pgbouncer to listen", SOON, || {
            assert!(
                pooler.process.try_wait().expect("ask for pgbouncer").is_none(),
                "it ended: {}",
                pooler.log()
            );
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        pooler
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> String {
        self.port.to_string()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // Versions differ in what else ends it at once, and a shell in the background has its children ignore QUIT.
        signal_pid(self.process.id(), Signal::SIGKILL);
        let _ = self.process.wait();
        guardian::forget(self.process.id());
        if std::thread::panicking() {
            eprintln!("pgbouncer's log:\n{}", self.log());
        }
    }
}
