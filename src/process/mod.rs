//! Child processes: starting them, telling their owners how they ended, what they print, and the signals
//! that end us.

mod lines;
mod reaper;
mod runner;
mod signals;

pub use lines::{Tail, for_each_line};
pub use reaper::{Child, Exit, Reaper, Signaller};
pub use runner::{Interrupted, Output, ProgramError, Runner};
pub use signals::Signals;
