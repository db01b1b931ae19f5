//! Errors in the options of pg_dump.

use thiserror::Error;

/// An invalid option. The message follows the name of the variable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// The text cannot be split into words.
    #[error("{0}")]
    Words(String),
    /// It would change the output or the connection. Its value is not shown, because it may be a secret.
    #[error("must not contain {0}: output file, server and login have their own settings")]
    Refused(String),
    /// It would make a dump that creates the database to restore into.
    #[error("must not contain --create: a restore creates the database itself")]
    Create,
    /// It needs a value.
    #[error("has no value for {0}")]
    NoValue(String),
    /// Unknown compression level or method.
    #[error(
        "asks for unknown compression {0}: use -Z0 to -Z9, gzip:LEVEL with 1 to 9 or zstd:LEVEL with up to 19"
    )]
    Compression(String),
    /// A method that pg_dump supports for SQL and we do not.
    #[error("asks for plain SQL compressed with lz4, which is not supported: use zstd, or -Fc with lz4")]
    Lz4,
    /// A format that pg_dump does not know.
    #[error("asks for unknown format {0}: use plain, custom, directory or tar")]
    Format(String),
    /// Parallel jobs with a format other than directory.
    #[error("asks for several jobs, which only the directory format (-Fd) supports")]
    Jobs,
    /// An invalid number of jobs.
    #[error("asks for {0:?} jobs: use a whole number from 1")]
    JobCount(String),
    /// Compression of a tar archive.
    #[error("asks for a compressed tar archive, which pg_dump does not support")]
    CompressedTar,
}
