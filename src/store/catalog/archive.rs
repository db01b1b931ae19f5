//! Streams a dump in directory format as a tar archive. Its files are listed once, so that the length is known in
//! advance; each is opened only when it is sent.

use std::fs::File;
use std::io;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::directory::Opened;
use super::discard::Hold;

/// Size of a tar block in bytes.
const BLOCK: u64 = 512;
/// Two zero blocks end a tar archive.
pub const END: [u8; 1024] = [0; 1024];

/// A tar archive of a dump, ready to send.
#[derive(Debug)]
pub struct Archive {
    directory: File,
    /// Sorted by name.
    pub members: Vec<Member>,
    /// The length of the archive in bytes.
    pub length: u64,
    _hold: Option<Hold>,
}

/// A file in the archive.
#[derive(Debug)]
pub struct Member {
    name: String,
    /// The tar header block.
    pub header: Vec<u8>,
    /// Size of the file in bytes.
    pub size: u64,
}

impl Archive {
    /// Lists the files of an opened directory; in the archive they are below `prefix/`.
    ///
    /// # Errors
    /// When the directory cannot be read, or a name does not fit a tar header.
    pub fn of(opened: Opened, prefix: &str) -> io::Result<Self> {
        let Opened { file: directory, hold, .. } = opened;
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory.try_clone()?.into())?.iter() {
            names.extend(entry?.file_name().to_str().ok().map(String::from));
        }
        names.sort_unstable();
        let mut members = Vec::new();
        for name in names {
            let status = fstatat(&directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
                continue;
            }
            let size = status.st_size.cast_unsigned();
            let header = header(&format!("{prefix}/{name}"), size, status.st_mtime)?;
            members.push(Member { name, header, size });
        }
        let length = members.iter().map(|member| BLOCK + member.size + member.padding()).sum::<u64>();
        Ok(Self { directory, members, length: length + END.len() as u64, _hold: hold })
    }

    /// Opens a member.
    ///
    /// # Errors
    /// When it no longer exists, or its size has changed.
    pub fn open(&self, member: &Member) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(&self.directory, member.name.as_str(), flags, Mode::empty())?);
        match file.metadata()?.len() == member.size {
            true => Ok(file),
            false => Err(io::Error::other("a file of the dump has changed")),
        }
    }
}

impl Member {
    /// Number of zero bytes that fill the last block.
    pub fn padding(&self) -> u64 {
        self.size.next_multiple_of(BLOCK) - self.size
    }
}

fn header(path: &str, size: u64, mtime: i64) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(mtime.max(0).cast_unsigned());
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}
