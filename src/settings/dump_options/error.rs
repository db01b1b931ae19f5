//! Why an option of pg_dump cannot be used.

use thiserror::Error;

/// An option that cannot be used. The message goes on where the variable's name stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// The words cannot be told apart.
    #[error("{0}")]
    Words(String),
    /// It would change what pg_dump writes to, or whom it talks to. Its value is left out: it may be a secret.
    #[error("must not contain {0}: output file, server and login have their own settings")]
    Refused(String),
    /// It would make a dump that names the database to restore into.
    #[error("must not contain --create: a restore creates the database itself")]
    Create,
    /// It needs a value.
    #[error("has no value for {0}")]
    NoValue(String),
    /// The level or method of compression is not one.
    #[error(
        "asks for unknown compression {0}: use -Z0 to -Z9, gzip:LEVEL with 1 to 9 or zstd:LEVEL with up to 19"
    )]
    Compression(String),
    /// A method that pg_dump has for SQL and we have not.
    #[error("asks for plain SQL compressed with lz4, which is not supported: use zstd, or -Fc with lz4")]
    Lz4,
    /// A format that is none of pg_dump's.
    #[error("asks for unknown format {0}: use plain, custom, directory or tar")]
    Format(String),
    /// Several jobs for something else than a directory.
    #[error("asks for several jobs, which only the directory format (-Fd) supports")]
    Jobs,
    /// A number of jobs that is none.
    #[error("asks for {0:?} jobs: use a whole number from 1")]
    JobCount(String),
    /// Compression of a tar archive.
    #[error("asks for a compressed tar archive, which pg_dump does not support")]
    CompressedTar,
}
