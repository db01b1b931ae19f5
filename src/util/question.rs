//! Queries that may block for long or forever, such as on a network volume. Each `Question` has one worker thread:
//! callers wait only as long as they choose, and at most one thread is stuck.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::mutex::lock;

/// A query that is repeated, each time with a parameter.
pub struct Question<Q, A>(Arc<Shared<Q, A>>);

struct Shared<Q, A> {
    answer: Box<dyn Fn(Q) -> A + Send + Sync>,
    state: Mutex<State<Q, A>>,
    /// Signalled when a query is pending or the `Question` is dropped.
    wanted: Condvar,
    /// Signalled when an answer has arrived.
    answered: Condvar,
}

struct State<Q, A> {
    /// Parameter of the pending query.
    next: Option<Q>,
    /// Number of the latest requested query.
    asked: u64,
    /// Number of the latest answered query.
    answered: u64,
    /// When the unanswered query was requested.
    since: Option<Instant>,
    known: Option<Known<A>>,
    has_thread: bool,
    is_over: bool,
}

/// The latest answer.
#[derive(Debug, Clone)]
pub struct Known<A> {
    /// The answer.
    pub answer: A,
    /// When it arrived.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What a waiting caller gets.
#[derive(Debug)]
pub struct Heard<A> {
    /// The latest answer; an older one if the query is still unanswered.
    pub answer: Option<A>,
    /// For how long the query has been unanswered; `None` if it is answered.
    pub silence: Option<Duration>,
}

/// The number of a requested query.
#[derive(Debug, Clone, Copy)]
pub struct Asked(u64);

impl<Q: Send + 'static, A: Clone + Send + 'static> Question<Q, A> {
    /// A query answered by this function.
    pub fn new(answer: impl Fn(Q) -> A + Send + Sync + 'static) -> Self {
        let state = State {
            next: None,
            asked: 0,
            answered: 0,
            since: None,
            known: None,
            has_thread: false,
            is_over: false,
        };
        let (wanted, answered) = (Condvar::new(), Condvar::new());
        Self(Arc::new(Shared { answer: Box::new(answer), state: Mutex::new(state), wanted, answered }))
    }

    /// Requests a query without waiting. It is not shared with one that has already begun.
    pub fn ask(&self, question: Q) -> Asked {
        self.ask_by(lock(&self.0.state), question)
    }

    /// Like [`Self::ask`], unless a query is outstanding or `is_due` accepts the latest answer.
    pub fn ask_if(&self, question: Q, is_due: impl FnOnce(Option<&Known<A>>) -> bool) -> Asked {
        let state = lock(&self.0.state);
        match state.since.is_none() && is_due(state.known.as_ref()) {
            true => self.ask_by(state, question),
            false => Asked(state.asked),
        }
    }

    fn ask_by(&self, mut state: MutexGuard<'_, State<Q, A>>, question: Q) -> Asked {
        // Requests made before the query begins share it.
        state.asked += u64::from(state.next.is_none());
        state.next = Some(question);
        state.since.get_or_insert_with(Instant::now);
        let asked = Asked(state.asked);
        if !state.has_thread {
            state.has_thread = self.start().is_ok();
        }
        let has_thread = state.has_thread;
        drop(state);
        match has_thread {
            true => self.0.wanted.notify_one(),
            // No thread could be started, so answer on this one.
            false => self.0.answer_next(),
        }
        asked
    }

    fn start(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("question".into()).spawn(move || shared.answer_all()).map(drop)
    }

    /// Waits for the answer until `patience` has passed since `begun` or since the query was requested, whichever is
    /// earlier.
    pub fn wait(&self, asked: Asked, begun: Instant, patience: Duration) -> Heard<A> {
        let mut state = lock(&self.0.state);
        while state.answered < asked.0
            && let Some(since) = state.since
            && let Some(left) = patience.checked_sub(since.min(begun).elapsed())
        {
            let waited = self.0.answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let silence =
            (state.answered < asked.0).then(|| state.since.map_or(Duration::ZERO, |since| since.elapsed()));
        Heard { answer: state.known.as_ref().map(|known| known.answer.clone()), silence }
    }
}

impl<Q, A> Shared<Q, A> {
    fn answer_all(&self) {
        loop {
            let mut state = lock(&self.state);
            while state.next.is_none() && !state.is_over {
                state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_over {
                return;
            }
            drop(state);
            self.answer_next();
        }
    }

    fn answer_next(&self) {
        let mut state = lock(&self.state);
        let (Some(question), number) = (state.next.take(), state.asked) else { return };
        drop(state);
        let begun = Instant::now();
        // After a panic there is no answer, and the next query starts anew.
        let answer = catch_unwind(AssertUnwindSafe(|| (self.answer)(question))).ok();
        let mut state = lock(&self.state);
        if let Some(answer) = answer {
            state.known = Some(Known { answer, at: Instant::now(), took: begun.elapsed() });
            state.answered = state.answered.max(number);
        }
        state.since = state.next.as_ref().map(|_| Instant::now());
        drop(state);
        self.answered.notify_all();
    }
}

impl<Q, A> Drop for Question<Q, A> {
    fn drop(&mut self) {
        lock(&self.0.state).is_over = true;
        self.0.wanted.notify_one();
    }
}

impl<Q, A> fmt::Debug for Question<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use crossbeam_channel::bounded;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(50);

    fn ask<A: Clone + Send + 'static>(
        question: &Question<u32, A>,
        what: u32,
        patience: Duration,
    ) -> Heard<A> {
        let begun = Instant::now();
        question.wait(question.ask(what), begun, patience)
    }

    #[test]
    fn each_answer_is_one_to_what_was_asked_last() {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&threads);
        let question = Question::new(move |number: u32| {
            lock(&seen).push(thread::current().id());
            number + 1
        });
        for number in 0..100 {
            let heard = ask(&question, number, LONG);
            assert_eq!((heard.answer, heard.silence), (Some(number + 1), None));
        }
        let threads = lock(&threads);
        assert!(threads.len() == 100 && threads.iter().all(|id| *id == threads[0]));
        assert_ne!(threads[0], thread::current().id());
    }

    #[test]
    fn nobody_waits_long_for_what_is_stuck_and_one_thread_at_most_is() {
        let (let_go, stuck) = bounded::<()>(0);
        let begun = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&begun);
        let question = Question::new(move |number: u32| {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = (number > 0).then(|| stuck.recv());
            number
        });
        assert_eq!(ask(&question, 0, LONG).answer, Some(0));
        for number in 1..9 {
            let heard = ask(&question, number, SHORT);
            assert_eq!(heard.answer, Some(0), "the one before");
            assert!(heard.silence.unwrap() >= SHORT, "{heard:?}");
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        // When the query has been stuck for longer than `patience`, a new caller does not wait at all.
        let patience = SHORT * 8;
        let is_long_enough =
            || question.wait(question.ask(9), Instant::now(), Duration::ZERO).silence.unwrap() >= patience;
        let waiting = Instant::now();
        while !is_long_enough() {
            assert!(waiting.elapsed() < LONG);
            thread::yield_now();
        }
        let asked = Instant::now();
        assert!(ask(&question, 9, patience).silence.is_some() && asked.elapsed() < patience);
        drop(let_go);
        assert_eq!(ask(&question, 10, LONG).answer, Some(10));
    }

    #[test]
    fn it_is_asked_once_for_all_who_want_to_know_meanwhile_and_not_before_it_is_due() {
        let (let_go, stuck) = bounded::<()>(0);
        let question = Question::new(move |number: u32| stuck.recv().map(|()| number).unwrap_or(number));
        let never =
            |_: Option<&Known<u32>>| -> bool { panic!("nobody is asked that while it is being asked") };
        let first = question.ask_if(1, |known| known.is_none());
        let second = question.ask_if(2, never);
        let_go.send(()).unwrap();
        for asked in [first, second] {
            assert_eq!(question.wait(asked, Instant::now(), LONG).answer, Some(1));
        }
        let third = question.ask_if(3, |known| known.unwrap().took > LONG);
        let heard = question.wait(third, Instant::now(), Duration::ZERO);
        assert_eq!((heard.answer, heard.silence), (Some(1), None));
    }

    #[test]
    fn a_panic_is_silence_and_the_next_one_is_answered() {
        let question = Question::new(|number: u32| {
            assert!(number > 0, "on request");
            number
        });
        let begun = Instant::now();
        assert!(ask(&question, 0, LONG).silence.is_some() && begun.elapsed() < LONG);
        assert_eq!(ask(&question, 1, LONG).answer, Some(1));
    }
}
