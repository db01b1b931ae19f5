//! The fallback, a directory per backup directory and user below the system's temporary directory. It takes what
//! cannot be written to the backup directory: the run lock, notes of restores, the result of a run, temporary files.

use std::env;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use thiserror::Error;

use crate::util::durable;
use crate::util::units::hexadecimal;

/// Why there is no fallback.
#[derive(Debug, Error)]
pub enum FallbackError {
    /// It cannot be created or written to.
    #[error("cannot write to {}: {error}; set TMPDIR to a directory with some room", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The path exists but was not created by us, or is accessible to others.
    #[error(
        "{} is not a directory that only user id {} may enter: remove it, or set TMPDIR to another directory",
        .0.display(), Uid::effective()
    )]
    NotOurs(PathBuf),
}

/// The fallback of a backup directory, if it exists.
///
/// # Errors
/// When the existing path is not ours.
pub fn open(directory: &Path) -> Result<Option<PathBuf>, FallbackError> {
    let path = path_for(directory);
    match fs::symlink_metadata(&path) {
        Ok(found) if is_ours(&found) => Ok(Some(path)),
        Ok(_) => Err(FallbackError::NotOurs(path)),
        Err(_) => Ok(None),
    }
}

/// The fallback of a backup directory, created if needed.
///
/// # Errors
/// When it cannot be created or written to, or the existing path is not ours.
pub fn create(directory: &Path) -> Result<PathBuf, FallbackError> {
    let path = path_for(directory);
    let failed = |error| FallbackError::Io { path: path.clone(), error };
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => durable::sync_parent(&path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    // Symbolic links are not followed: another user may have placed one here.
    match fs::symlink_metadata(&path) {
        Ok(found) if is_ours(&found) => {}
        Ok(_) => return Err(FallbackError::NotOurs(path)),
        Err(error) => return Err(failed(error)),
    }
    durable::probe(&path).map_err(failed)?;
    Ok(path)
}

fn is_ours(found: &Metadata) -> bool {
    found.is_dir() && found.uid() == Uid::effective().as_raw() && found.mode() & 0o077 == 0
}

/// Its path: `backupgram-UID-DIGITS`, with digits from a hash of the backup directory's path.
fn path_for(directory: &Path) -> PathBuf {
    let real = fs::canonicalize(directory).or_else(|_| std::path::absolute(directory));
    let real = real.unwrap_or_else(|_| directory.to_path_buf());
    let digest = Sha256::digest(real.as_os_str().as_encoded_bytes());
    let digits = hexadecimal(&digest[..8]);
    env::temp_dir().join(format!("backupgram-{}-{digits}", Uid::effective()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory whose fallback no other test uses; removed on drop.
    struct Own(tempfile::TempDir);

    impl Own {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn fallback(&self) -> PathBuf {
            path_for(self.0.path())
        }
    }

    impl Drop for Own {
        fn drop(&mut self) {
            let path = self.fallback();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(path));
        }
    }

    #[test]
    fn it_is_made_for_us_alone_and_found_again() {
        let own = Own::new();
        assert!(open(own.0.path()).unwrap().is_none());
        let path = create(own.0.path()).unwrap();
        assert_eq!(path, create(own.0.path()).unwrap());
        assert_eq!(open(own.0.path()).unwrap(), Some(path.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "the probe is gone");
        // The same directory reached through a link.
        let link = tempfile::tempdir().unwrap();
        let link = link.path().join("link");
        symlink(own.0.path(), &link).unwrap();
        assert_eq!(open(&link).unwrap(), Some(path));
        assert_ne!(Own::new().fallback(), own.fallback());
    }

    #[test]
    fn what_others_may_have_put_there_is_refused() {
        let precious = tempfile::tempdir().unwrap();
        fs::set_permissions(precious.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let link = |path: &Path| symlink(precious.path(), path).unwrap();
        let file = |path: &Path| fs::write(path, "").unwrap();
        let shared = |path: &Path| {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o770)).unwrap();
        };
        let nowhere = |path: &Path| symlink("/nowhere/at/all", path).unwrap();
        for put in [&link as &dyn Fn(&Path), &file, &shared, &nowhere] {
            let own = Own::new();
            put(&own.fallback());
            assert!(matches!(open(own.0.path()), Err(FallbackError::NotOurs(_))));
            assert!(matches!(create(own.0.path()), Err(FallbackError::NotOurs(_))));
        }
        assert_eq!(fs::read_dir(precious.path()).unwrap().count(), 0);
    }
}
