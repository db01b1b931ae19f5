//! Waits until programs can be started again, before a failure is notified: a limit on processes or memory that ended
//! the run may still keep hooks and webhooks from being started, and they are not retried later.

use std::io;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;

use crate::system::process::{ProgramError, Runner};

/// The pauses between attempts, in seconds; half a minute in all.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 15];
/// The time limit of `true`, which is started as a trial.
const LIMIT: Duration = Duration::from_secs(5);

/// Waits for a while until a program can be started, unless a stop signal comes.
pub fn await_room(runner: &Runner) {
    for pause in PAUSES.map(Duration::from_secs) {
        let started = runner.program(&mut Command::new("true")).time_limit(LIMIT).output();
        match started {
            Err(ProgramError::Start(_, error)) if is_want_of_room(&error) => {
                log::warn!("cannot start hooks and webhooks, trying again in {} s: {error}", pause.as_secs());
                if runner.sleep(pause).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// fork(2): a limit on processes, or no memory.
fn is_want_of_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EAGAIN | Errno::ENOMEM))
}
