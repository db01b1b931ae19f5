//! The problems as a process asks for them. The volume is asked on threads of their own, for which a look waits a
//! limited time, so that a slow volume holds nobody up. What is expensive is asked only now and then.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::look::Look;
use super::scheduled::{self, Ended};
use super::{clock, records, writable};
use crate::settings::Environment;
use crate::store::catalog::BackupDirectory;
use crate::util::mutex::lock;
use crate::util::question::{Known, Question};

/// How long an expensive answer is used again.
const FRESH: Duration = Duration::from_secs(10);
/// Backups are listed again after so many times the duration of the last listing.
const PAUSE: u32 = 20;
/// How long a look waits for answers. A disk that a dump is written to may take longer to flush a small file.
const PATIENCE: Duration = Duration::from_secs(2);
/// A volume that has not taken a file for so long is a problem. A flush may have to wait for gigabytes.
const STALLED: Duration = Duration::from_secs(60);

/// How long a process that looks once waits.
pub const ONCE: Duration = Duration::from_secs(4);

/// Looks for problems again and again.
#[derive(Debug)]
pub struct Watch {
    directory: BackupDirectory,
    /// What the records say, by these settings, or else by those that are in force.
    records: Question<Option<Arc<Environment>>, Look>,
    /// Whether the directory takes files.
    takes_files: Question<(), Vec<String>>,
    /// What is wrong with the times of the backups, of which there may be many.
    times: Question<(), Vec<String>>,
    /// How go-cron says that its last run went; not asked by go-cron itself.
    scheduled: Option<Question<(), Option<Ended>>>,
    patience: Duration,
    stalled: Duration,
}

impl Watch {
    /// A watch on this directory, and on the scheduler that answers on this port of the machine, if there is one.
    pub fn new(directory: BackupDirectory, scheduler: Option<u16>) -> Self {
        let [of_records, of_files, of_times] = [(); 3].map(|()| directory.clone());
        Self {
            directory,
            records: Question::new(move |settings| records::read(&of_records, settings)),
            takes_files: Question::new(move |()| writable::ask(&of_files)),
            times: Question::new(move |()| clock::check_backups(&of_times)),
            scheduled: scheduler.map(ask_scheduler),
            patience: PATIENCE,
            stalled: STALLED,
        }
    }

    /// A watch for a process that looks once. For it, a volume that does not take a file in time is a problem.
    pub fn once(directory: BackupDirectory) -> Self {
        Self { patience: ONCE, stalled: Duration::ZERO, ..Self::new(directory, None) }
    }

    /// What is found now, by these settings; without any by those that are in force, which are read together with the
    /// records.
    pub fn look(&self, settings: Option<Arc<Environment>>) -> Look {
        let begun = Instant::now();
        // All of them are asked at the same time.
        let records = self.records.ask(settings);
        let takes_files = self.takes_files.ask_if((), |known| is_due(known, 0));
        let times = self.times.ask_if((), |known| is_due(known, PAUSE));
        let scheduled = self.scheduled.as_ref().map(|port| (port, port.ask_if((), |known| is_due(known, 0))));
        let records = self.records.wait(records, begun, self.patience);
        let takes_files = self.takes_files.wait(takes_files, begun, self.patience);
        // Without an answer nothing is known to be wrong.
        let times = self.times.wait(times, begun, self.patience);
        let scheduled = scheduled.and_then(|(port, asked)| port.wait(asked, begun, self.patience).answer?);

        let root = self.directory.root();
        let mut problems = takes_files.answer.unwrap_or_default();
        let stalled = takes_files.silence.filter(|silence| *silence >= self.stalled);
        match (records.silence, stalled) {
            (Some(silence), _) => problems.push(silent(root, silence)),
            (None, Some(stalled)) => {
                problems.push(format!(
                    "no file could be written to {} for {} s",
                    root.display(),
                    seconds(stalled)
                ));
            }
            (None, None) => {}
        }
        problems.extend(times.answer.unwrap_or_default());
        let known = records.answer.unwrap_or_default();
        problems.extend(known.problems);
        let scheduled = scheduled.and_then(|ended| scheduled::check(&ended, known.last.as_ref()));
        problems.extend(scheduled);
        Look { problems, is_current: records.silence.is_none(), ..known }
    }
}

/// Asks go-cron. If it does not answer, its last answer counts.
fn ask_scheduler(port: u16) -> Question<(), Option<Ended>> {
    let (port, last) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Mutex::new(None));
    Question::new(move |()| {
        let answer = scheduled::ask(port);
        let mut last = lock(&last);
        *last = answer.or(last.take());
        last.clone()
    })
}

/// Whether it is time to ask again, which is not before so many times as long as it took.
fn is_due<A>(known: Option<&Known<A>>, times: u32) -> bool {
    known.is_none_or(|known| known.at.elapsed() >= FRESH.max(known.took.saturating_mul(times)))
}

/// The problem of a directory that has not answered for so long.
pub(super) fn silent(root: &Path, silence: Duration) -> String {
    format!("{} has not answered for {} s", root.display(), seconds(silence))
}

fn seconds(time: Duration) -> u64 {
    time.as_secs_f64().round() as u64
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    fn settings() -> Option<Arc<Environment>> {
        Some(Arc::new(Environment::of(&[("BACKUP_MAX_AGE_HOURS", "1000000")])))
    }

    /// A question that is answered when the sender is gone.
    fn stuck<Q: Send + 'static, A: Default + Clone + Send + 'static>() -> (Sender<()>, Question<Q, A>) {
        let (let_go, stuck) = bounded::<()>(0);
        let question = Question::new(move |_: Q| {
            let _ = stuck.recv();
            A::default()
        });
        (let_go, question)
    }

    #[track_caller]
    fn wait_until(is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_directory_that_is_gone_is_told_and_asked_for_again_only_after_a_while() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("backups");
        let watch = Watch::new(BackupDirectory::new(&path), None);
        let problems = watch.look(settings()).problems;
        let told = "cannot be written to: No such file";
        assert!(problems.len() == 1 && problems[0].contains(told), "{problems:?}");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(watch.look(settings()).problems, problems);
        let again = Watch::new(BackupDirectory::new(&path), None);
        assert_eq!(again.look(settings()).problems, [""; 0]);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing is left there");
    }

    #[test]
    fn a_volume_that_takes_no_file_may_be_slow_for_a_while_and_then_is_told() {
        let root = tempfile::tempdir().unwrap();
        let (let_go, takes_files) = stuck();
        let stalled = SHORT * 5;
        let new = Watch::new(BackupDirectory::new(root.path()), None);
        let watch = Watch { takes_files, patience: SHORT, stalled, ..new };
        assert_eq!(watch.look(settings()).problems, [""; 0]);
        let told = format!("no file could be written to {} for ", root.path().display());
        wait_until(|| matches!(&watch.look(settings()).problems[..], [only] if only.starts_with(&told)));
        drop(let_go);
        wait_until(|| watch.look(settings()).problems.is_empty());
        // To somebody who looks once it is a problem at once.
        let (_let_go, takes_files) = stuck();
        let once = Watch { takes_files, patience: SHORT, ..Watch::once(BackupDirectory::new(root.path())) };
        let problems = once.look(settings()).problems;
        assert!(problems.len() == 1 && problems[0].contains("no file could be written to"), "{problems:?}");
    }

    #[test]
    fn of_a_volume_that_does_not_answer_the_last_is_told_that_was_known() {
        let root = tempfile::tempdir().unwrap();
        let (let_go, held) = bounded::<()>(0);
        let records = Question::new(move |settings: Option<Arc<Environment>>| {
            let _ = settings.is_some().then(|| held.recv());
            Look { problems: vec!["known".into()], space: Some((1, 2)), ..Look::default() }
        });
        let new = Watch::new(BackupDirectory::new(root.path()), None);
        let watch = Watch { records, patience: SHORT, ..new };
        assert!(watch.look(None).is_current);
        let look = watch.look(settings());
        let told = format!("{} has not answered for ", root.path().display());
        assert!(look.problems[0].starts_with(&told) && look.problems[1..] == ["known"], "{look:?}");
        assert_eq!((look.is_current, look.space), (false, Some((1, 2))));
        let begun = Instant::now();
        (0..100).for_each(|_| assert!(!watch.look(settings()).is_current));
        assert!(begun.elapsed() < SHORT * 10, "nobody waits any more: {:?}", begun.elapsed());
        drop(let_go);
        wait_until(|| watch.look(settings()).is_current);
    }

    /// As of ten thousand backups on a slow disk.
    #[test]
    fn backups_that_take_long_to_list_are_no_problem_and_hold_up_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for watch in [Watch::new, |directory, _| Watch::once(directory)] {
            let (let_go, times) = stuck();
            let patience = Duration::from_secs(1);
            let watch =
                Watch { times, patience, ..watch(BackupDirectory::new(root.path().join("gone")), None) };
            let begun = Instant::now();
            let look = watch.look(settings());
            assert!(begun.elapsed() >= patience, "it is given the time that there is");
            assert!(look.is_current && look.problems.len() == 1, "{look:?}");
            assert!(look.problems[0].contains("cannot be written to"), "{look:?}");
            drop(let_go);
        }
    }

    #[test]
    fn what_took_long_is_asked_for_again_only_after_many_times_as_long() {
        let ago = |seconds, took| Known {
            answer: (),
            at: Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap(),
            took: Duration::from_secs(took),
        };
        assert!(is_due::<()>(None, PAUSE));
        for (seconds, took, expected) in [(9, 0, false), (11, 0, true), (30, 2, false), (41, 2, true)] {
            assert_eq!(is_due(Some(&ago(seconds, took)), PAUSE), expected, "{seconds} {took}");
        }
        assert!(is_due(Some(&ago(11, 9)), 0));
    }
}
