//! How fast messages may follow one another in a chat.
//!
//! Telegram's documentation ("My bot is hitting limits") says: one message a second in a chat, and twenty a minute in
//! a group.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Chat;
use crate::system::process::{Interrupted, Runner};
use crate::util::mutex::lock;

const IN_A_CHAT: Duration = Duration::from_secs(1);
const IN_A_GROUP: Duration = Duration::from_secs(3);

/// When the next message may go to each chat.
#[derive(Debug, Default)]
pub struct Pace(Mutex<HashMap<Chat, Instant>>);

impl Pace {
    /// Waits until a message may go to a chat.
    ///
    /// # Errors
    /// When a stop signal comes first.
    pub fn turn(&self, chat: &Chat, runner: &Runner) -> Result<(), Interrupted> {
        match self.reserve(chat, Instant::now()) {
            Duration::ZERO => runner.check(),
            wait => runner.sleep(wait),
        }
    }

    /// Reserves the next message, and answers how long to wait for it.
    fn reserve(&self, chat: &Chat, now: Instant) -> Duration {
        let mut turns = lock(&self.0);
        let turn = turns.get(chat).copied().unwrap_or(now).max(now);
        turns.insert(chat.clone(), turn + if chat.is_group() { IN_A_GROUP } else { IN_A_CHAT });
        turn - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_to_one_chat_keep_their_distance_and_others_do_not_wait_for_them() {
        let (pace, now) = (Pace::default(), Instant::now());
        let (person, group) = (Chat::parse("5").unwrap(), Chat::parse("-1005").unwrap());
        let waits = |chat| [0; 3].map(|_| pace.reserve(chat, now).as_secs());
        assert_eq!(waits(&person), [0, 1, 2]);
        assert_eq!(waits(&group), [0, 3, 6]);
        assert_eq!(pace.reserve(&person, now + Duration::from_secs(60)), Duration::ZERO);
    }
}
