//! The gate: the one way in from TCP.
//!
//! It keeps accepting whatever happens, gives each admitted connection a thread with a small stack, receives each
//! request whole under limits and deadlines, and rejects what is malformed or ambiguous. It knows no route and imports
//! nothing of ours: what a request means is up to the [`Service`].

mod chunks;
mod connection;
pub mod date;
mod error;
mod framing;
mod head;
mod limiter;
pub mod limits;
mod listener;
mod message;
mod send;
mod service;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::socket::{Backlog, listen as lengthen_queue};

pub use chunks::Chunks;
pub use error::ApiError;
pub use framing::Framing;
pub use head::{Found, Head};
use limiter::ConnectionLimiter;
use limits::Limits;
pub use listener::listen;
pub use message::{Body, FilePart, Headers, Part, Parts, Response};
pub use service::{Incoming, Service};

/// A listening gate. It listens until it is closed or the process ends.
pub struct Gate(Arc<Listening>);

struct Listening {
    name: &'static str,
    listener: TcpListener,
    closed: AtomicBool,
    limits: Limits,
    limiter: Arc<ConnectionLimiter>,
    service: Arc<dyn Service>,
}

impl Gate {
    /// Starts to accept connections and answers them by `service`, within these limits. `name` is used for the thread and
    /// in the log.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn open(
        name: &'static str,
        listener: TcpListener,
        limits: Limits,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        // The standard library sets a backlog of 128. When it is full, a client's SYN is dropped, and the client retries
        // only after a second.
        lengthen_queue(&listener, Backlog::MAXALLOWABLE)?;
        let limiter = Arc::new(ConnectionLimiter::new(limits.connections));
        let listening =
            Arc::new(Listening { name, listener, closed: AtomicBool::new(false), limits, limiter, service });
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
                    // The panic has been logged. Without this loop no connection would be accepted any more.
                    let _ = catch_unwind(AssertUnwindSafe(admit));
                }
                Err(_) if self.closed.load(Ordering::Relaxed) => return,
                Err(error) => {
                    // Out of file descriptors, or the client has gone (ECONNABORTED): the next one may succeed.
                    log::debug!("{}: cannot accept: {error}", self.name);
                    thread::sleep(limits::ACCEPT_PAUSE);
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: IpAddr) {
        // Reset while it was in the backlog: a flood of these must not cost a thread each.
        if !matches!(stream.take_error(), Ok(None)) {
            return;
        }
        let stream = Arc::new(stream);
        let turn_away = |stream: &TcpStream| {
            self.service.record_refusal();
            send::turn_away(stream, ApiError::unavailable("too many connections are open", 1).into());
        };
        let Some(guard) = self.limiter.admit(&stream) else { return turn_away(&stream) };
        let (serving, gate) = (Arc::clone(&stream), Arc::clone(self));
        let serve = move || connection::serve(&serving, peer, &guard, &gate.limits, gate.service.as_ref());
        // If there is no thread for it, the closure is dropped, and the guard with it.
        if thread::Builder::new().stack_size(limits::STACK).spawn(serve).is_err() {
            turn_away(&stream);
        }
    }
}
