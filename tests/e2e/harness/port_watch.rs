//! Asks a port all the time, to know for how long at most nobody answered there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// A thread that asks until it is told to finish.
pub struct PortWatch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl PortWatch {
    /// Begins to watch a port on the loopback.
    pub fn start(port: u16) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !told.load(Ordering::Relaxed) {
                if answers(port) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                thread::sleep(PAUSE);
            }
            longest.max(last.elapsed())
        });
        Self { over, thread }
    }

    /// Ends the watch and answers the longest time between two answers.
    pub fn finish(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic")
    }
}

/// Whether an HTTP server answers there within a moment.
pub fn answers(port: u16) -> bool {
    ask(port).is_some_and(|answer| answer.starts_with(b"HTTP/1."))
}

fn ask(port: u16) -> Option<Vec<u8>> {
    let patience = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    // To the end: a client that hangs up in the middle fills the server's log.
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}
