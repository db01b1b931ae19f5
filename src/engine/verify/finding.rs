//! What verifying a backup finds.

use std::fmt;

use crate::settings::Redactor;
use crate::store::catalog::{BackupName, Slot, Verification};

/// Whether a backup is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is.
    Whole,
    /// It is damaged, as the rest of a sentence that begins with its name.
    Broken(String),
    /// It could not be checked, as the rest of such a sentence. That says nothing about the backup.
    Unknown(String),
}

impl Finding {
    /// The finding for a check that failed. The error is stored, so secrets are removed from it: programs have printed it.
    pub(super) fn failed(error: &impl fmt::Display, is_damage: bool) -> Self {
        let error = Redactor::of_process().clean(&error.to_string());
        if is_damage { Self::Broken(error) } else { Self::Unknown(error) }
    }

    /// What is wrong, if anything is.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Whole => None,
            Self::Broken(error) | Self::Unknown(error) => Some(error),
        }
    }

    /// Whether the backup itself is at fault.
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// What a manifest records of it. Nothing, if it could not be checked.
    pub(super) fn by_checksum(&self, at: i64) -> Option<Verification> {
        let is_known = !matches!(self, Self::Unknown(_));
        is_known.then(|| Verification::by_checksum(at, self.error().map(String::from)))
    }
}

/// The finding about a backup.
#[derive(Debug)]
pub struct Verdict {
    /// The slot.
    pub slot: Slot,
    /// The name; for a pointer, its target's.
    pub name: BackupName,
    /// What was found.
    pub finding: Finding,
}
