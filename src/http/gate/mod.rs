//! The gate: the one way in from TCP.
//!
//! It accepts whatever happens, gives each connection a slot and a small thread, takes each request whole
//! under limits and deadlines, refuses what is malformed or ambiguous, and hands on only what is neither.
//! What a request means is the [`Service`]'s to know.

mod chunks;
mod connection;
mod framing;
mod head;
pub mod limits;
mod listener;
mod send;
mod slots;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{Backlog, listen as lengthen_queue};

pub use chunks::Chunks;
pub use framing::Framing;
pub use head::{Found, Head};
use limits::Limits;
pub use listener::listen;
use slots::Slots;

use super::error::ApiError;
use super::message::Response;

/// A whole request.
#[derive(Debug)]
pub struct Incoming {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Vec<u8>,
    /// The client's address.
    pub peer: IpAddr,
}

/// What answers the requests that come through a gate. It is called on the connection's own thread.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. A panic is answered with 500.
    fn answer(&self, incoming: &Incoming) -> Response;

    /// Whether what asks by this head may send a body that has not come yet. If not, it is answered without one, and
    /// the connection ends: strangers must not fill the memory.
    fn wants_body(&self, _head: &Head) -> bool {
        true
    }

    /// For how long this answer to a request is held back. It may never be sent then: such connections give way first
    /// when the slots are taken.
    fn hold_back(&self, _incoming: &Incoming, _response: &Response) -> Duration {
        Duration::ZERO
    }

    /// Whether this path is asked for again and again by machines; such requests are logged at debug.
    fn is_probed(&self, path: &str) -> bool;

    /// Hears of every answer before it is sent: the path without its query, "-" where there is none, and the
    /// status.
    fn note_answer(&self, _path: &str, _status: u16) {}

    /// Hears of every connection that is turned away for want of a slot.
    fn note_refusal(&self) {}
}

/// An open gate. It stays open until it is closed or the process ends.
pub struct Gate(Arc<Listening>);

struct Listening {
    name: &'static str,
    listener: TcpListener,
    closed: AtomicBool,
    limits: Limits,
    slots: Arc<Slots>,
    service: Arc<dyn Service>,
}

impl Gate {
    /// Answers by `service` from now on, within these limits. `name` is the thread's and the log's.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn open(
        name: &'static str,
        listener: TcpListener,
        limits: Limits,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        // The standard library queues 128. When a crowd fills that, the next one's first packet is dropped, and it
        // tries again only after a second.
        lengthen_queue(&listener, Backlog::MAXALLOWABLE)?;
        let slots = Arc::new(Slots::new(limits.connections));
        let listening =
            Arc::new(Listening { name, listener, closed: AtomicBool::new(false), limits, slots, service });
        let accepting = Arc::clone(&listening);
        thread::Builder::new().name(name.into()).spawn(move || accepting.accept())?;
        Ok(Self(listening))
    }

    /// Stops listening: when this returns, another process can have the port. Connections that are open
    /// already are still answered.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        // shutdown(2) on a listening socket ends the listening, and the accept that waits on it, at once.
        // The standard library has it for streams only.
        if let Ok(copy) = self.0.listener.try_clone() {
            let _ = TcpStream::from(OwnedFd::from(copy)).shutdown(Shutdown::Both);
        }
    }
}

impl Listening {
    fn accept(self: &Arc<Self>) {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    let admit = || self.admit(stream, peer.ip().to_canonical());
                    // The panic itself is in the log. Without this loop nobody would come in any more.
                    let _ = catch_unwind(AssertUnwindSafe(admit));
                }
                Err(_) if self.closed.load(Ordering::Relaxed) => return,
                Err(error) => {
                    // Out of descriptors, or a client that gave up while it waited: the next may fare better.
                    log::debug!("{}: cannot accept: {error}", self.name);
                    thread::sleep(limits::ACCEPT_PAUSE);
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: IpAddr) {
        // Reset while it waited: a flood of these must not cost a thread each, nor keep others waiting.
        if !matches!(stream.take_error(), Ok(None)) {
            return;
        }
        let stream = Arc::new(stream);
        let turn_away = |stream: &TcpStream| {
            self.service.note_refusal();
            send::turn_away(stream, ApiError::unavailable("too many connections are open", 1).into());
        };
        let Some(slot) = self.slots.take(&stream) else { return turn_away(&stream) };
        let (serving, gate) = (Arc::clone(&stream), Arc::clone(self));
        let serve = move || connection::serve(&serving, peer, &slot, &gate.limits, gate.service.as_ref());
        // The slot moves into the closure and is given back with it if there is no thread for it.
        if thread::Builder::new().stack_size(limits::STACK).spawn(serve).is_err() {
            turn_away(&stream);
        }
    }
}
