//! The problems as a process asks for them that runs for long: what costs something is asked for now and then only, on a
//! thread of its own, and nobody waits long for a volume that is slow or does not answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::scheduled::{self, Ended};
use super::{Look, clock, look_with, writable};
use crate::catalog::BackupDirectory;
use crate::mutex::lock;
use crate::settings::Environment;

/// How long what was asked for counts.
const FRESH: Duration = Duration::from_secs(10);
/// How long an answer is waited for. A disk that a dump is written to may take longer to flush a small file.
const PATIENCE: Duration = Duration::from_secs(2);
/// After which time without an answer something is wrong with the volume. A flush may have to wait for gigabytes.
const STALLED: Duration = Duration::from_secs(60);

/// How long a process waits that looks once.
const ONCE: Duration = Duration::from_secs(4);

/// Looks for problems again and again.
#[derive(Debug)]
pub struct Watch {
    asked: Arc<Asked>,
    patience: Duration,
    stalled: Duration,
}

#[derive(Debug)]
struct Asked {
    directory: BackupDirectory,
    /// Where go-cron tells of its last run; not asked by go-cron itself.
    scheduler: Option<SocketAddr>,
    known: Mutex<Known>,
    /// Told when somebody has come back with an answer.
    answered: Condvar,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// When somebody began to ask, who has not come back.
    begun: Option<Instant>,
    /// When that was last answered.
    at: Option<Instant>,
    /// Whether it takes files, and what is wrong with the times in it.
    listed: Vec<String>,
    scheduled: Option<Ended>,
}

impl Watch {
    /// A watch on this directory, and on the scheduler that answers on this port of the machine, if there is one.
    pub fn new(directory: BackupDirectory, scheduler: Option<u16>) -> Self {
        let scheduler = scheduler.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let (known, answered) = (Mutex::default(), Condvar::new());
        let asked = Arc::new(Asked { directory, scheduler, known, answered });
        Self { asked, patience: PATIENCE, stalled: STALLED }
    }

    /// One for a process that looks once. To that, a volume that does not answer soon is a problem at once.
    pub fn once(directory: BackupDirectory) -> Self {
        Self { patience: ONCE, stalled: ONCE, ..Self::new(directory, None) }
    }

    /// What is found now.
    pub fn look(&self, environment: &Environment) -> Look {
        let Known { begun, listed: mut problems, scheduled, .. } = self.ask(environment);
        let directory = &self.asked.directory;
        if let Some(begun) = begun.filter(|begun| begun.elapsed() >= self.stalled) {
            let root = directory.root().display();
            problems.push(format!("{root} has not taken a file for {} s", begun.elapsed().as_secs()));
        }
        let mut look = look_with(directory, environment, problems);
        let ended = scheduled.as_ref();
        look.problems.extend(ended.and_then(|ended| scheduled::check(ended, look.last.as_ref())));
        look
    }

    /// What is known, after asking if that is due and nobody else does so already.
    fn ask(&self, environment: &Environment) -> Known {
        let mut known = lock(&self.asked.known);
        if known.begun.is_none() && known.at.is_none_or(|at| at.elapsed() >= FRESH) {
            known.begun = Some(Instant::now());
            drop(known);
            let (asked, settings) = (Arc::clone(&self.asked), environment.clone());
            if thread::Builder::new().name("probe".into()).spawn(move || asked.ask(&settings)).is_err() {
                self.asked.ask(environment);
            }
            known = lock(&self.asked.known);
        }
        while let Some(left) = known.begun.and_then(|begun| self.patience.checked_sub(begun.elapsed())) {
            let waited = self.asked.answered.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        known.clone()
    }
}

impl Asked {
    fn ask(&self, environment: &Environment) {
        let mut listed = writable::ask(&self.directory);
        // Listing may take long.
        lock(&self.known).listed.clone_from(&listed);
        listed.extend(clock::check(&self.directory, environment));
        let scheduled = self.scheduler.and_then(scheduled::ask);
        let mut known = lock(&self.known);
        // Who does not answer once has not taken back what he said.
        let scheduled = scheduled.or(known.scheduled.take());
        *known = Known { begun: None, at: Some(Instant::now()), listed, scheduled };
        drop(known);
        self.answered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_gone_is_told_and_asked_for_again_only_after_a_while() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("backups");
        let environment = Environment::of(&[("BACKUP_MAX_AGE_HOURS", "1000000")]);
        let watch = Watch::new(BackupDirectory::new(&path), None);
        let problems = watch.look(&environment).problems;
        let told = "cannot be written to: No such file";
        assert!(problems.len() == 1 && problems[0].contains(told), "{problems:?}");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(watch.look(&environment).problems, problems);
        let again = Watch::new(BackupDirectory::new(&path), None);
        assert_eq!(again.look(&environment).problems, [""; 0]);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing is left there");
    }

    #[test]
    fn who_asks_while_nobody_answers_is_told_that_and_does_not_wait() {
        let root = tempfile::tempdir().unwrap();
        let environment = Environment::of(&[("BACKUP_MAX_AGE_HOURS", "1000000")]);
        let watch = Watch::new(BackupDirectory::new(root.path()), None);
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let look = |begun: u64| {
            *watch.asked.known.lock().unwrap() = Known { begun: ago(begun), at: ago(90), ..Known::default() };
            let looked = Instant::now();
            let problems = watch.look(&environment).problems;
            assert!(looked.elapsed() < PATIENCE);
            problems
        };
        // It may only be slow.
        assert_eq!(look(30), [""; 0]);
        let problems = look(70);
        assert!(problems[0].contains("has not taken a file for 7"), "{problems:?}");
        watch.asked.ask(&environment);
        assert_eq!(watch.look(&environment).problems, [""; 0]);
    }
}
