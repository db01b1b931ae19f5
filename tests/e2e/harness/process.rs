//! What `/proc` says about processes.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{SOON, wait_for};

/// One line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// R, S, D, Z and so on.
    pub state: char,
    /// The first 15 bytes of the program's name.
    pub name: String,
    /// When it started, in clock ticks since boot: with the pid, an identity that is never reused.
    pub started: u64,
}

impl Process {
    /// The process with this number, if there is one.
    pub fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            name: name.to_owned(),
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// The most memory that the process `pid` has had, in KiB, while it is there.
    pub fn peak_memory(pid: u32) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
    }

    /// Every process that we can see.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").expect("read /proc");
        entries.filter_map(|entry| Self::find(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// The children of `pid`, their children, and so on.
    pub fn descendants(pid: u32) -> Vec<Self> {
        let all = Self::all();
        let mut family = vec![pid];
        let mut found = Vec::new();
        while let Some(parent) = family.pop() {
            for child in all.iter().filter(|process| process.parent == parent) {
                family.push(child.pid);
                found.push(child.clone());
            }
        }
        found
    }

    /// Waits for a descendant of `pid` that runs the program `name`, past its `exec`.
    #[track_caller]
    pub fn descendant(pid: u32, name: &str) -> Self {
        wait_for(&format!("a process {name} below process {pid}"), SOON, || {
            Self::descendants(pid).into_iter().find(|process| process.works_as(name))
        })
    }

    /// The directory that it is in.
    pub fn directory(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }

    /// Whether it runs the program `name`, and not only to be asked for its version.
    pub fn works_as(&self, name: &str) -> bool {
        // One that is just ending has its name still, but no arguments any more.
        let line = self.command_line();
        self.name == name && self.state != 'Z' && !line.is_empty() && !line.contains("--version")
    }

    /// Whether it, and not a later one with its number, is still there and no zombie.
    pub fn is_alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started && now.state != 'Z')
    }

    /// The arguments that it was started with, separated by spaces.
    pub fn command_line(&self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }

    /// Whether the text stands in its environment.
    pub fn environment_holds(&self, text: &str) -> bool {
        let bytes = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(text)
    }

    /// Sends `signal`; a process that has just ended is fine.
    pub fn signal(&self, signal: Signal) {
        signal_pid(self.pid, signal);
    }
}

/// Sends `signal` to the process that the caller has started and not yet waited for.
pub fn signal_pid(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Whether a network namespace can be made here; says so where not.
pub fn may_unshare_network() -> bool {
    let allowed = std::process::Command::new("unshare").args(["--net", "true"]).status();
    let allowed = allowed.is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("SKIPPED: a network namespace cannot be made here");
    }
    allowed
}

/// Whether a process namespace can be made here; says so where not.
pub fn may_unshare() -> bool {
    let mut command = std::process::Command::new("unshare");
    let allowed = command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "true"]).status();
    let allowed = allowed.is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("SKIPPED: a process namespace cannot be made here");
    }
    allowed
}
