//! The limits of the gate. All of its numbers are here.

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
/// The most overhead of a chunked body, in bytes: extensions, trailers, leading zeros.
pub const CHUNK_EXTRAS: usize = 16 * 1024;
/// How long a head may take from its first byte, or a new connection to its first byte.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a body may take.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// How long a connection may be idle between two requests. Longer than proxies keep theirs, nginx for 60 seconds: it must
/// not be us who close it, just when they send a request.
pub const IDLE_TIME: Duration = Duration::from_secs(75);
/// How long a client may acknowledge nothing of a response.
pub const STALL_TIME: Duration = Duration::from_secs(60);
/// How long what a client still sends is read and discarded after the last response.
pub const LINGER_TIME: Duration = Duration::from_secs(1);
/// The most that is discarded then, in bytes.
pub const LINGER: usize = 256 * 1024;
/// Connections at a time.
const CONNECTIONS: usize = 128;
/// How long a connection may be idle before it is evicted in preference to one that is sending.
pub const SETTLING_TIME: Duration = Duration::from_secs(1);
/// As [`grace`], of a gate with many connections.
const GRACE: Duration = Duration::from_millis(5);
/// How long a new connection waits to be admitted before it is refused.
pub const ADMISSION_TIME: Duration = Duration::from_secs(1);
/// The pause before a pipelined request. A client that pipelines thousands must not take all of the processor.
pub const PIPELINE_PAUSE: Duration = Duration::from_millis(5);
/// Evicted connections whose threads have not ended yet.
pub const LEAVING: usize = 32;
/// The stack of a connection's thread, in bytes.
pub const STACK: usize = 128 * 1024;
/// The pause after a failed accept, for example without free file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection is not evicted after it has become idle or begun to send: its thread, or its client, may not have
/// been scheduled yet. 5 ms for 64 connections or more. With fewer, evictions of one connection follow each other faster,
/// so it is up to eight times as long.
pub fn grace(connections: usize) -> Duration {
    GRACE * (64 / connections.max(1) as u32).clamp(1, 8)
}

/// The limits that may differ between gates.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time.
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
    /// The limits of a gate for this many connections.
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

/// File descriptors that are not the gate's connections: three for each request that is with tiny_http, downloads, pipes of
/// children.
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
