//! The events of a run that webhooks and hooks are told.

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A run has begun.
    Started {
        /// Its databases.
        databases: &'a [String],
    },
    /// It backed up everything.
    Succeeded {
        /// Its databases.
        databases: &'a [String],
    },
    /// A database was not backed up, or the run failed.
    Failed {
        /// Why.
        error: &'a str,
        /// Its databases.
        databases: &'a [String],
    },
}

impl<'a> Event<'a> {
    /// The word for it in messages, which is also the argument of hooks.
    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Started { .. } => "pre-backup",
            Self::Succeeded { .. } => "post-backup",
            Self::Failed { .. } => "error",
        }
    }

    pub(super) fn databases(&self) -> &'a [String] {
        match self {
            Self::Started { databases } | Self::Succeeded { databases } | Self::Failed { databases, .. } => {
                databases
            }
        }
    }

    pub(super) fn error(&self) -> Option<&'a str> {
        match self {
            Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}
