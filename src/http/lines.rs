//! The lines to tiny_http: a fixed number, each lent to one request at a time, in the order in which they ask.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::line::Line;
use super::message::Response;
use super::permits::{Permit, Permits};

/// The lines.
#[derive(Debug)]
pub struct Lines {
    count: usize,
    patience: Duration,
    places: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// One for each line that may be open.
    permits: Permits,
    /// Counts the listeners that lines have led to.
    generation: u64,
    free: Vec<Kept>,
    waiting: VecDeque<Arc<Waiter>>,
}

#[derive(Debug)]
struct Kept {
    line: Line,
    generation: u64,
    _permit: Permit,
}

/// Who waits for a line.
#[derive(Debug)]
struct Waiter {
    thread: Thread,
    given: Mutex<Option<Kept>>,
}

impl Lines {
    /// Room for `count` lines, none of which is open yet, and for as many as `places` who wait for one, each of
    /// them for up to `patience`.
    pub fn new(count: usize, places: usize, patience: Duration) -> Self {
        let permits = Permits::new(count);
        let state = State { permits, generation: 0, free: Vec::new(), waiting: VecDeque::new() };
        Self { count, patience, places, state: Mutex::new(state) }
    }

    /// Sends a request over one of the lines and takes the answer. `None` when no line could be had, and the
    /// request was not sent.
    ///
    /// # Errors
    /// As [`Line::ask`].
    pub fn ask(&self, request: &[u8]) -> Option<io::Result<Response>> {
        let mut kept = self.take()?;
        let answer = kept.line.ask(request);
        let mut state = self.lock();
        if kept.line.is_sound() && kept.generation == state.generation {
            state.give(kept);
        }
        Some(answer)
    }

    /// Opens what is missing of the lines, one after the other, to the listener at `socket`. To be called by one
    /// thread alone.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn fill(&self, socket: &Path) -> io::Result<()> {
        loop {
            let (generation, permits) = {
                let state = self.lock();
                (state.generation, state.permits.clone())
            };
            let Some(permit) = permits.take() else { return Ok(()) };
            let line = Line::open(socket)?;
            self.lock().give(Kept { line, generation, _permit: permit });
        }
    }

    /// Forgets every line: the listener is another one from now on, and will not hear them.
    pub fn void(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.permits = Permits::new(self.count);
        state.free.clear();
    }

    /// How many are open and lent to nobody.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.lock().free.len()
    }

    fn take(&self) -> Option<Kept> {
        let mut state = self.lock();
        if let Some(kept) = state.free.pop() {
            return Some(kept);
        }
        if state.waiting.len() >= self.places {
            return None;
        }
        let waiter = Arc::new(Waiter { thread: thread::current(), given: Mutex::default() });
        state.waiting.push_back(Arc::clone(&waiter));
        drop(state);
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(kept) = waiter.lock().take() {
                return Some(kept);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        // Lines are given under this lock: what was not given by now never will be.
        let mut state = self.lock();
        state.waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
        waiter.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands a line to who has waited longest; were it free meanwhile, who comes late could be first.
    fn give(&mut self, kept: Kept) {
        match self.waiting.pop_front() {
            Some(waiter) => {
                *waiter.lock() = Some(kept);
                waiter.thread.unpark();
            }
            None => self.free.push(kept),
        }
    }
}

impl Waiter {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use crossbeam_channel::{Receiver, unbounded};

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const SOON: Duration = Duration::from_secs(30);

    /// Proves each line that is opened, and hands out the other end.
    fn listen(socket: &Path) -> Receiver<UnixStream> {
        let listener = UnixListener::bind(socket).unwrap();
        let (opened, ends) = unbounded();
        thread::spawn(move || {
            while let Ok((mut end, _)) = listener.accept() {
                if end.read(&mut [0; 256]).is_ok_and(|count| count > 0)
                    && (end.write_all(ANSWER).is_err() || opened.send(end).is_err())
                {
                    break;
                }
            }
        });
        ends
    }

    fn question(end: &mut UnixStream) -> u8 {
        let mut byte = [0];
        end.read_exact(&mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn lines_are_lent_in_the_order_of_those_who_wait_and_those_who_are_too_many_get_none() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let ends = listen(&socket);
        let lines = Lines::new(1, 3, SOON);
        lines.fill(&socket).unwrap();
        let mut end = ends.recv().unwrap();
        thread::scope(|scope| {
            let asking: Vec<_> = (0..4_usize)
                .map(|number| {
                    let asking = scope.spawn({
                        let lines = &lines;
                        move || lines.ask(&[u8::try_from(number).unwrap()]).unwrap().unwrap().status
                    });
                    let deadline = Instant::now() + SOON;
                    while lines.lock().waiting.len() < number || !lines.lock().free.is_empty() {
                        assert!(Instant::now() < deadline, "it does not come to wait");
                        thread::yield_now();
                    }
                    asking
                })
                .collect();
            assert!(lines.ask(b"x").is_none());
            for number in 0..4 {
                assert_eq!(question(&mut end), number);
                end.write_all(ANSWER).unwrap();
            }
            for asking in asking {
                assert_eq!(asking.join().unwrap(), 200);
            }
        });
        assert!(ends.is_empty());
    }

    #[test]
    fn who_has_waited_long_enough_gets_no_line_and_takes_none_with_him() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _ends = listen(&socket);
        let lines = Lines::new(1, 3, Duration::from_millis(1));
        assert!(lines.ask(b"x").is_none());
        lines.fill(&socket).unwrap();
        let state = lines.lock();
        assert_eq!((state.waiting.len(), state.free.len()), (0, 1));
    }

    #[test]
    fn a_line_that_fails_is_replaced_and_its_request_is_not_sent_again() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let ends = listen(&socket);
        let lines = Lines::new(1, 3, SOON);
        lines.fill(&socket).unwrap();
        drop(ends.recv().unwrap());
        assert!(lines.ask(b"a").unwrap().is_err());
        lines.fill(&socket).unwrap();
        let mut end = ends.recv().unwrap();
        thread::scope(|scope| {
            let asking = scope.spawn(|| lines.ask(b"b").unwrap().unwrap().status);
            assert_eq!(question(&mut end), b'b');
            end.write_all(ANSWER).unwrap();
            assert_eq!(asking.join().unwrap(), 200);
        });
    }

    #[test]
    fn no_line_to_a_listener_of_before_is_lent_again() {
        let directory = tempfile::tempdir().unwrap();
        let sockets = ["one", "two"].map(|name| directory.path().join(name));
        let ends = sockets.each_ref().map(|socket| listen(socket));
        let lines = Lines::new(2, 3, SOON);
        lines.fill(&sockets[0]).unwrap();
        let mut olds = [ends[0].recv().unwrap(), ends[0].recv().unwrap()];
        thread::scope(|scope| {
            let asking = scope.spawn(|| lines.ask(b"a").unwrap().unwrap().status);
            // The line that was opened last is lent first.
            assert_eq!(question(&mut olds[1]), b'a');
            lines.void();
            olds[1].write_all(ANSWER).unwrap();
            assert_eq!(asking.join().unwrap(), 200);
        });
        for mut old in olds {
            assert_eq!(old.read(&mut [0]).unwrap(), 0);
        }
        lines.fill(&sockets[1]).unwrap();
        let _news = [ends[1].recv().unwrap(), ends[1].recv().unwrap()];
        assert_eq!(lines.lock().free.len(), 2);
    }
}
