//! Waits for all children of this process.
//!
//! A single thread waits for every child, ours and the orphans that the kernel gives us as PID 1 or as
//! subreaper, and tells each child's owner by channel. Nobody else waits. A child is started and
//! registered under the lock that the thread takes before it collects a status, so a child that ends at
//! once is not lost; and a pid is signalled only under that lock, while it cannot have been reused.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::usage::children_of;
use crate::util::mutex;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Code(i32),
    /// This signal ended it.
    Signal(Signal),
    /// A real-time signal ended it, or its status was asked for twice.
    Unknown,
}

impl Exit {
    /// Whether the child exited with status 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The status as a shell would report it: 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal as i32,
            Self::Unknown => 255,
        }
    }
}

impl From<WaitStatus> for Exit {
    fn from(status: WaitStatus) -> Self {
        match status {
            WaitStatus::Exited(_, code) => Self::Code(code),
            WaitStatus::Signaled(_, signal, _) => Self::Signal(signal),
            _ => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "killed by {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// Starts children and collects the wait status of every process that is ours to collect.
#[derive(Debug, Clone)]
pub struct Reaper {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    children: Mutex<HashMap<Pid, Entry>>,
    started: Condvar,
}

#[derive(Debug)]
struct Entry {
    exited: Sender<Exit>,
    /// Whether the child leads a process group of its own, which ends with it.
    leads_group: bool,
    /// Tells this child from a later one that the kernel gave the same pid.
    serial: u64,
}

/// The pause before the next `waitid` when there is no child. Orphans of a `docker exec` may be given to PID 1 at any
/// time.
const CHILDLESS_PAUSE: Duration = Duration::from_secs(1);

/// Asks whether a child has ended, and leaves its status to be collected.
const ENDED: WaitPidFlag = WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG).union(WaitPidFlag::WNOWAIT);

impl Reaper {
    /// Starts the reaping thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let reaping = Arc::clone(&shared);
        std::thread::Builder::new().name("reaper".into()).spawn(move || reaping.run())?;
        Ok(Self { shared })
    }

    /// Makes this process the one that adopts the orphans among its descendants, as PID 1 is by birth.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn adopt_orphans(&self) -> io::Result<()> {
        Ok(nix::sys::prctl::set_child_subreaper(true)?)
    }

    /// Starts `command` in our own process group.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.start_child(command, false)
    }

    /// Starts `command` as leader of a new process group. Signals go to the whole group, and whatever
    /// is left of the group when its leader ends is killed.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn_group(&self, command: &mut Command) -> io::Result<Child> {
        self.start_child(command.process_group(0), true)
    }

    /// Signals every process that we adopted when its parent ended, such as a backup whose go-cron was
    /// killed. Does nothing where the kernel does not list children in /proc.
    pub fn signal_adopted(&self, signal: Signal) {
        // Under the lock no status is collected, so no pid in the list can have been reused.
        let children = self.shared.lock();
        for pid in children_of("self").into_iter().filter(|pid| !children.contains_key(pid)) {
            let _ = kill(pid, signal);
        }
    }

    /// Kills every child, those of our own with their groups.
    pub fn kill_all(&self) {
        for (pid, entry) in self.shared.lock().iter() {
            let _ =
                if entry.leads_group { killpg(*pid, Signal::SIGKILL) } else { kill(*pid, Signal::SIGKILL) };
        }
        self.signal_adopted(Signal::SIGKILL);
    }

    /// Whether there is no child at all, ours or adopted.
    pub fn is_childless(&self) -> bool {
        waitid(Id::All, ENDED) == Err(Errno::ECHILD)
    }

    fn start_child(&self, command: &mut Command, leads_group: bool) -> io::Result<Child> {
        let (exited, exit) = bounded(1);
        let mut children = self.shared.lock();
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let serial = next_serial();
        children.insert(pid, Entry { exited, leads_group, serial });
        self.shared.started.notify_one();
        drop(children);
        Ok(Child {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            exit,
            signaller: Signaller { pid, serial, has_group: leads_group, shared: Arc::clone(&self.shared) },
        })
    }
}

fn next_serial() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, Entry>> {
        mutex::lock(&self.children)
    }

    fn run(&self) {
        loop {
            // WNOWAIT leaves the zombie in place: its pid stays taken until we hold the lock.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(status) => {
                    if let Some(pid) = status.pid() {
                        self.collect(pid);
                    }
                }
                Err(Errno::ECHILD) => {
                    let children = self.lock();
                    if children.is_empty() {
                        drop(self.started.wait_timeout(children, CHILDLESS_PAUSE));
                    }
                }
                // nix has no name for a real-time signal, and so none for the child that one ended.
                Err(Errno::EINVAL) => self.collect_nameless(),
                Err(_) => {}
            }
        }
    }

    fn collect(&self, pid: Pid) {
        let mut children = self.lock();
        // A program that could not be started is waited for by `spawn` itself, under the same lock.
        if matches!(waitid(Id::Pid(pid), ENDED), Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD)) {
            return;
        }
        let entry = children.remove(&pid);
        if entry.as_ref().is_some_and(|entry| entry.leads_group) {
            // The zombie leader still holds the group's id. ESRCH: nobody else was left in it.
            let _ = killpg(pid, Signal::SIGKILL);
        }
        let exit = waitpid(pid, Some(WaitPidFlag::WNOHANG)).map_or(Exit::Unknown, Exit::from);
        if let Some(entry) = entry {
            // Capacity 1 and a single message: this cannot block. The owner may have lost interest.
            let _ = entry.exited.try_send(exit);
        }
    }

    fn collect_nameless(&self) {
        let registered: Vec<Pid> = self.lock().keys().copied().collect();
        match registered.into_iter().find(|pid| waitid(Id::Pid(*pid), ENDED) == Err(Errno::EINVAL)) {
            Some(pid) => self.collect(pid),
            None => self.collect_stranger(),
        }
    }

    fn collect_stranger(&self) {
        // A child of ours that ended meanwhile may come first; then it must not be dropped.
        let mut children = self.lock();
        let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) else { return };
        if let Some(entry) = status.pid().and_then(|pid| children.remove(&pid)) {
            let _ = entry.exited.try_send(Exit::from(status));
        }
    }
}

/// A child that the reaper watches. Dropping it neither waits for the process nor ends it.
#[derive(Debug)]
pub struct Child {
    /// The writing end of the child's standard input, when it was piped.
    pub stdin: Option<ChildStdin>,
    /// The reading end of the child's standard output, when it was piped.
    pub stdout: Option<ChildStdout>,
    /// The reading end of the child's standard error, when it was piped.
    pub stderr: Option<ChildStderr>,
    exit: Receiver<Exit>,
    signaller: Signaller,
}

impl Child {
    /// The child's process id.
    pub fn pid(&self) -> Pid {
        self.signaller.pid
    }

    /// Receives the exit once; for use in `select!`.
    pub fn exited(&self) -> &Receiver<Exit> {
        &self.exit
    }

    /// Waits until the child has ended. Takes its exit, so it answers once.
    pub fn wait(&self) -> Exit {
        // The sender lives until it has sent, so an error means that the exit was taken before.
        self.exit.recv().unwrap_or(Exit::Unknown)
    }

    /// A handle that can signal the child from another thread.
    pub fn signaller(&self) -> Signaller {
        self.signaller.clone()
    }
}

/// Sends signals to one child, and to nobody else once that child is gone.
#[derive(Debug, Clone)]
pub struct Signaller {
    pid: Pid,
    serial: u64,
    /// Whether signals go to a group that the child leads.
    has_group: bool,
    shared: Arc<Shared>,
}

impl Signaller {
    /// The same for a child that the caller has made the leader of a group: its signals go to all of that.
    #[must_use]
    pub fn of_group(self) -> Self {
        Self { has_group: true, ..self }
    }

    /// Whether the child has not ended yet.
    pub fn is_running(&self) -> bool {
        self.shared.lock().get(&self.pid).is_some_and(|entry| entry.serial == self.serial)
    }

    /// Whether it is that child's.
    pub fn is_of(&self, child: &Child) -> bool {
        self.serial == child.signaller.serial
    }

    /// Sends `signal` to the group that the caller has made this child the leader of, when what is left of that
    /// group shall outlive the child and it was therefore not started by [`Reaper::spawn_group`].
    pub fn signal_own_group(&self, signal: Signal) -> bool {
        let children = self.shared.lock();
        let is_ours = children.get(&self.pid).is_some_and(|entry| entry.serial == self.serial);
        is_ours && killpg(self.pid, signal).is_ok()
    }

    /// Sends `signal` to the child, or to its whole group when it leads one. Does nothing when the
    /// child has ended. Answers whether there was a child to signal.
    pub fn signal(&self, signal: Signal) -> bool {
        let children = self.shared.lock();
        match children.get(&self.pid) {
            Some(entry) if entry.serial == self.serial => {
                let sent = if self.has_group { killpg(self.pid, signal) } else { kill(self.pid, signal) };
                sent.is_ok()
            }
            _ => false,
        }
    }
}
