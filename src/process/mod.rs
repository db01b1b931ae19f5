//! Child processes: starting them, telling their owners how they ended, what they print, and the signals
//! that end us.

mod lines;
mod reaper;
mod runner;
mod signals;

pub use lines::{Listener, Tail, for_each_line};
pub use reaper::{Child, Exit, Reaper, Signaller};
#[cfg(test)]
pub(crate) use runner::test_runner;
pub use runner::{Interrupted, Output, ProgramError, Runner};
pub use signals::Signals;
