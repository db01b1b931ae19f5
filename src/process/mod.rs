//! Child processes: starting them, telling their owners how they ended, and the signals that end us.

mod reaper;
mod signals;

pub use reaper::{Child, Exit, Reaper, Signaller};
pub use signals::Signals;
