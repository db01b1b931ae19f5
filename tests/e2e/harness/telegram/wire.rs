//! The wire between a client and the server, which breaks or is slow on demand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[derive(Default)]
struct Faults {
    /// Connections that are still to be cut.
    cuts: AtomicUsize,
    /// Bytes that go through one before it is.
    after: AtomicU64,
    /// Bytes a second and connection; 0 is as fast as it can.
    rate: AtomicU64,
}

/// A port that leads to another one. Its threads end with the test binary.
pub struct Wire {
    pub port: u16,
    faults: Arc<Faults>,
}

impl Wire {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let own = listener.local_addr().expect("an address").port();
        let faults = Arc::new(Faults::default());
        let told = Arc::clone(&faults);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).expect("reach the server");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a copy"), to.try_clone().expect("a copy"));
                    let faults = Arc::clone(&told);
                    thread::spawn(move || carry(&from, &to, &faults));
                }
            }
        });
        Self { port: own, faults }
    }

    /// Cuts the next `count` connections through which more than `after` bytes go one way.
    pub fn cut(&self, count: usize, after: u64) {
        self.faults.after.store(after, Ordering::SeqCst);
        self.faults.cuts.store(count, Ordering::SeqCst);
    }

    /// How many of those are still to come.
    pub fn cuts_left(&self) -> usize {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Lets no more bytes a second through each connection.
    pub fn slow(&self, rate: u64) {
        self.faults.rate.store(rate, Ordering::SeqCst);
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, faults: &Faults) {
    let (mut chunk, mut passed) = (vec![0; 64 * 1024], 0);
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        passed += read as u64;
        let is_due = passed > faults.after.load(Ordering::SeqCst);
        let fewer = |cuts: usize| cuts.checked_sub(1);
        if is_due && faults.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        if let Some(pause) = (read as u64 * 1000).checked_div(faults.rate.load(Ordering::SeqCst)) {
            thread::sleep(Duration::from_millis(pause));
        }
        if to.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
}
