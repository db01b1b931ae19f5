//! Why an option of pg_dump cannot be used.

use thiserror::Error;

/// An option that cannot be used. The message goes on where the variable's name stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// The words cannot be told apart.
    #[error("{0}")]
    Words(String),
    /// It would change what pg_dump writes to, or whom it talks to. Its value is left out: it may be a secret.
    #[error("must not contain {0}: file, server and login have settings of their own")]
    Refused(String),
    /// It would make a dump that names the database to restore into.
    #[error("must not contain --create: a restore makes the database by itself")]
    Create,
    /// It needs a value.
    #[error("has no value for {0}")]
    NoValue(String),
    /// The level or method of compression is not one.
    #[error("has no compression {0}: use -Z0 to -Z9, gzip:LEVEL with 1 to 9 or zstd:LEVEL with up to 19")]
    Compression(String),
    /// A method that pg_dump has for SQL and we have not.
    #[error("asks for SQL in lz4, which is not written here: use zstd, or -Fc with lz4")]
    Lz4,
    /// A format that is none of pg_dump's.
    #[error("has no format {0}: use plain, custom, directory or tar")]
    Format(String),
    /// Several jobs for something else than a directory.
    #[error("asks for several jobs, which only a directory (-Fd) can have")]
    Jobs,
    /// A number of jobs that is none.
    #[error("asks for {0:?} jobs: use a whole number from 1")]
    JobCount(String),
    /// Compression of a tar archive.
    #[error("asks for a compressed tar archive, which pg_dump does not write")]
    CompressedTar,
}
