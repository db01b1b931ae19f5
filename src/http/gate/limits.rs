//! How much a client may ask of the gate. Every number is here.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The longest request line, in bytes.
pub const REQUEST_LINE: usize = 8 * 1024;
/// The longest request head, in bytes.
pub const HEAD: usize = 16 * 1024;
/// The most header fields of a request.
pub const FIELDS: usize = 64;
/// The longest body of a request, in bytes.
pub const BODY: usize = 64 * 1024;
/// The most of a body in chunks that is neither of the body nor needed, in bytes: extensions, trailers, zeros in front.
pub const CHUNK_EXTRAS: usize = 16 * 1024;
/// How long a head may take from its first byte, or a new connection to its first byte.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a body may take.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// How long a connection may say nothing between two requests. Longer than proxies keep it, nginx for 60 seconds: who ends it
/// first must not be us, just when they send something.
pub const IDLE_TIME: Duration = Duration::from_secs(75);
/// How long a client may take none of an answer.
pub const STALL_TIME: Duration = Duration::from_secs(60);
/// How long the rest of what a client sends is taken after the last answer.
pub const LINGER_TIME: Duration = Duration::from_secs(1);
/// The most that is taken then, in bytes.
pub const LINGER: usize = 256 * 1024;
/// Connections at one time.
const CONNECTIONS: usize = 128;
/// How long a connection has to begin to speak, or to go on, before it counts as idle and gives way first.
pub const SETTLING_TIME: Duration = Duration::from_secs(1);
/// As [`grace`], of a gate with many connections.
const GRACE: Duration = Duration::from_millis(5);
/// How long a new connection waits for a slot before it is turned away.
pub const ADMISSION_TIME: Duration = Duration::from_secs(1);
/// The pause before a request that was sent without waiting for the answer to the one before it. Who sends them
/// by the thousand must not have all of the processor.
pub const PIPELINE_PAUSE: Duration = Duration::from_millis(5);
/// Connections that were ended to make room and have not noticed yet.
pub const LEAVING: usize = 32;
/// The stack of a connection's thread, in bytes.
pub const STACK: usize = 128 * 1024;
/// The pause after an accept that failed, for want of descriptors for example.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long no connection gives way after whatever it did last: its thread, or its client, may just not have had its
/// turn. Where there are few they would follow each other too fast for that, so there it is up to eight times as long.
pub fn grace(connections: usize) -> Duration {
    GRACE * (64 / connections.max(1) as u32).clamp(1, 8)
}

/// What one gate grants, where they may differ.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time.
    pub connections: usize,
    /// As [`HEAD_TIME`].
    pub head_time: Duration,
    /// As [`BODY_TIME`].
    pub body_time: Duration,
    /// As [`IDLE_TIME`].
    pub idle_time: Duration,
    /// As [`STALL_TIME`].
    pub stall_time: Duration,
}

impl Limits {
    /// Those of a gate for this many connections.
    pub fn of(connections: usize) -> Self {
        Self {
            connections,
            head_time: HEAD_TIME,
            body_time: BODY_TIME,
            idle_time: IDLE_TIME,
            stall_time: STALL_TIME,
        }
    }
}

/// File descriptors that are not connections: the lines with three each, downloads, children's pipes.
const OTHER_DESCRIPTORS: u64 = 112;

/// Raises the limit of open files to what the system allows.
pub fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}

/// Connections that fit under the limit of open files.
pub fn connections() -> usize {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let fitting = usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(CONNECTIONS);
    fitting.clamp(8, CONNECTIONS)
}
