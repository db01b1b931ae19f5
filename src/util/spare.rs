//! Preallocated space for a small file that must be written even on a full volume: a spare file with allocated blocks,
//! which is later filled and renamed.
//!
//! Writing then needs no new block or inode. A crash at any step leaves the target either old or new, and leftovers of
//! a killed process have a name that the next sweep removes.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use crate::util::durable;

/// Unit of `st_blocks` in bytes, whatever the file system's block size (stat(2)).
const STAT_BLOCK: u64 = 512;

/// Ensures a spare of at least `size` bytes, replacing a smaller one.
///
/// # Errors
/// When there is no space for it; a smaller one is kept.
pub fn reserve(spare: &Path, size: u64) -> io::Result<()> {
    if fs::symlink_metadata(spare).is_ok_and(|found| serves(&found, size)) {
        return Ok(());
    }
    let temporary = temporary_for(spare);
    durable::remove_if_there(&temporary)?;
    let mut file = File::options().write(true).create_new(true).mode(0o644).open(&temporary)?;
    let made =
        allocate(&mut file, size).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, spare));
    if made.is_err() {
        let _ = durable::remove_if_there(&temporary);
    }
    made
}

/// Replaces `target` with `contents` by using up the spare. Both must be in one directory.
///
/// # Errors
/// When there is no spare, or it is too small and the volume is full. `target` is then unchanged; the spare is kept,
/// but its contents may be overwritten.
pub fn replace_file(spare: &Path, target: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_for(target);
    durable::remove_if_there(&temporary)?;
    // Renamed first, so that of two concurrent writers only one gets it.
    fs::rename(spare, &temporary)?;
    let replaced = fill(&temporary, contents, mode).and_then(|()| durable::rename(&temporary, target));
    if replaced.is_err() {
        let _ = fs::rename(&temporary, spare);
    }
    replaced
}

/// Whether it is a file of ours with `size` bytes allocated.
fn serves(found: &Metadata, size: u64) -> bool {
    is_our_file(found) && found.len() >= size && found.blocks() * STAT_BLOCK >= size
}

/// A file with another hard link is refused: someone may want that other file overwritten.
fn is_our_file(found: &Metadata) -> bool {
    found.is_file() && found.nlink() == 1
}

fn fill(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    // Not truncated, to keep its allocated blocks.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = File::options().write(true).custom_flags(flags.bits()).open(path)?;
    if !is_our_file(&file.metadata()?) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the spare file is not a regular file with a single name",
        ));
    }
    file.write_all(contents)?;
    file.set_len(contents.len() as u64)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn allocate(file: &mut File, size: u64) -> io::Result<()> {
    let length = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
    match fallocate(&*file, FallocateFlags::empty(), 0, length) {
        // On some file systems, such as NFS before 4.2, only writing allocates blocks.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            let block = [b' '; 4096];
            for at in (0..size).step_by(block.len()) {
                let length = usize::try_from(size - at).unwrap_or(block.len()).min(block.len());
                file.write_all(&block[..length])?;
            }
            Ok(())
        }
        allocated => Ok(allocated?),
    }
}

/// `NAME.PID.tmp` beside a file.
fn temporary_for(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_target_takes_the_contents_and_the_place_of_the_spare() {
        let root = tempfile::tempdir().unwrap();
        let (spare, target) = (root.path().join(".spare"), root.path().join("target"));
        assert!(replace_file(&spare, &target, b"new", 0o644).is_err(), "there is none");
        reserve(&spare, 8192).unwrap();
        let found = fs::metadata(&spare).unwrap();
        assert!(found.blocks() * STAT_BLOCK >= 8192 && found.len() == 8192);
        fs::write(&target, "old").unwrap();
        replace_file(&spare, &target, b"new", 0o640).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        let now = fs::metadata(&target).unwrap();
        assert_eq!((now.ino(), now.mode() & 0o777), (found.ino(), 0o640));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_spare_is_made_anew_only_where_it_is_too_small() {
        let root = tempfile::tempdir().unwrap();
        let spare = root.path().join(".spare");
        let made = |size| {
            reserve(&spare, size).unwrap();
            fs::metadata(&spare).unwrap()
        };
        let first = made(4096);
        assert_eq!(first.ino(), made(4096).ino());
        assert!(made(16_384).len() == 16_384);
        assert_eq!(made(4096).len(), 16_384);
        // The right length, but no blocks.
        fs::remove_file(&spare).unwrap();
        File::create(&spare).unwrap().set_len(16_384).unwrap();
        assert!(made(16_384).blocks() * STAT_BLOCK >= 16_384);
    }

    #[test]
    fn what_somebody_has_put_in_its_place_is_not_written_to() {
        let root = tempfile::tempdir().unwrap();
        let (spare, target) = (root.path().join(".spare"), root.path().join("target"));
        let precious = root.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        for put in
            [|from: &Path, to: &Path| symlink(from, to), |from: &Path, to: &Path| fs::hard_link(from, to)]
        {
            put(&precious, &spare).unwrap();
            assert!(replace_file(&spare, &target, b"new", 0o644).is_err());
            assert_eq!(fs::read(&precious).unwrap(), b"precious");
            assert!(!target.exists());
            reserve(&spare, 4096).unwrap();
            assert!(is_our_file(&fs::symlink_metadata(&spare).unwrap()));
            fs::remove_file(&spare).unwrap();
        }
    }
}
