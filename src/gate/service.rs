//! What answers the requests of a gate.

use std::net::IpAddr;
use std::time::Duration;

use super::head::Head;
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

/// Answers the requests of a gate. Called on the connection's own thread.
pub trait Service: Send + Sync + 'static {
    /// Answers a request. A panic is answered with 500.
    fn answer(&self, incoming: &Incoming) -> Response;

    /// Whether the gate should wait for a body that has not arrived with its head. If not, the request is answered
    /// without a body and the connection is closed: unauthenticated clients must not fill the memory.
    fn wants_body(&self, _head: &Head) -> bool {
        true
    }

    /// How long to delay this response. A connection in that delay is the first to be evicted, and then gets no response.
    fn response_delay(&self, _incoming: &Incoming, _response: &Response) -> Duration {
        Duration::ZERO
    }

    /// Whether this path is polled by machines; such requests are logged at level debug.
    fn is_probe(&self, path: &str) -> bool;

    /// Called for every response before it is sent, with the path without its query ("-" if there is none).
    fn record_response(&self, _path: &str, _status: u16) {}

    /// Called for every connection that is refused because too many are open.
    fn record_refusal(&self) {}
}
