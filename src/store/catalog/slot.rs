//! The four slots of a backup directory.

use std::fmt;

use jiff::Zoned;
use serde::Serialize;

/// A subdirectory of the backup directory with its own retention period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Every backup; retention in minutes.
    Last,
    /// The newest backup of each day.
    Daily,
    /// The newest backup of each ISO week.
    Weekly,
    /// The newest backup of each month.
    Monthly,
}

impl Slot {
    /// All slots, in listing order.
    pub const ALL: [Self; 4] = [Self::Last, Self::Daily, Self::Weekly, Self::Monthly];

    /// The directory's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// The slot of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.name() == name)
    }

    /// The time stamp in the file names of a slot: time, day, ISO week or month.
    pub fn stamp(self, time: &Zoned) -> String {
        let format = match self {
            Self::Last => "%Y%m%d-%H%M%S",
            Self::Daily => "%Y%m%d",
            Self::Weekly => "%G%V",
            Self::Monthly => "%Y%m",
        };
        time.strftime(format).to_string()
    }

    /// Whether `text` has the form of this slot's stamps.
    pub(super) fn is_stamp(self, text: &str) -> bool {
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Last => text.split_once('-').is_some_and(|(day, time)| digits(day, 8) && digits(time, 6)),
            Self::Daily => digits(text, 8),
            Self::Weekly | Self::Monthly => digits(text, 6),
        }
    }

    /// The length of this slot's stamps in bytes.
    pub(super) fn stamp_length(self) -> usize {
        match self {
            Self::Last => 15,
            Self::Daily => 8,
            Self::Weekly | Self::Monthly => 6,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
