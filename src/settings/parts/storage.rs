//! The settings of storage and retention.

use std::path::PathBuf;
use std::time::Duration;

use super::policy::read_policy;
use crate::settings::reader::Reader;
use crate::settings::secrets::Secret;
use crate::store::catalog::{Latest, Suffix};
use crate::store::retention::Policy;

/// Where backups are kept, and for how long.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The backup directory.
    pub directory: PathBuf,
    /// The suffix of backup file names.
    pub suffix: Suffix,
    /// The kind of `-latest` pointers.
    pub latest: Latest,
    /// The retention policy.
    pub policy: Policy,
    /// Bytes that must be free before a dump.
    pub minimum_free: u64,
    /// Seconds to wait for another run to end.
    pub lock_wait: u32,
    /// Passphrase to encrypt new backups and decrypt existing ones.
    pub passphrase: Option<Secret>,
    /// Minimum seconds between restore proofs of a database; `None` for no proofs.
    pub proof_interval: Option<u64>,
    /// Number of parallel jobs of a restore.
    pub restore_jobs: usize,
    /// Time limit for a backup run, if any.
    pub longest_run: Option<Duration>,
}

impl Storage {
    /// Reads these settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let mebibytes = reader.whole("BACKUP_MIN_DISK_SPACE");
        let suffix = reader.text("BACKUP_SUFFIX");
        let latest = reader.word("BACKUP_LATEST_TYPE");
        let policy = read_policy(reader);
        let lock_wait = reader.whole("BACKUP_LOCK_WAIT");
        let passphrase = reader.secret("BACKUP_ENCRYPTION_KEY");
        let restore_jobs = restore_jobs(reader);
        let longest_run = reader.hours("BACKUP_MAX_RUN_HOURS");
        let (verify, interval) = (reader.word("BACKUP_VERIFY"), reader.span("BACKUP_VERIFY_EVERY"));
        Some(Self {
            directory: reader.text("BACKUP_DIR")?.into(),
            suffix: Suffix::parse(&suffix?).ok()?,
            latest: Latest::from_word(latest?),
            policy: policy?,
            minimum_free: u64::from(mebibytes?) << 20,
            lock_wait: lock_wait?,
            passphrase,
            proof_interval: interval.filter(|_| verify == Some("restore")),
            restore_jobs: restore_jobs?,
            longest_run: longest_run?,
        })
    }

    /// The suffix of new backups, with that of encryption.
    pub fn ending(&self) -> String {
        let encrypted = if self.passphrase.is_some() { ".gpg" } else { "" };
        format!("{}{encrypted}", self.suffix.as_str())
    }
}

/// The number of parallel jobs of pg_restore: `RESTORE_JOBS`, or the number of processors if that is 0.
fn restore_jobs(reader: &mut Reader) -> Option<usize> {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    match reader.whole("RESTORE_JOBS")? {
        0 => Some(processors()),
        jobs => usize::try_from(jobs).ok(),
    }
}
