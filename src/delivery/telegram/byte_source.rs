//! A backup as a source of bytes for uploads: any range can be read at any time, by several threads at once.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use crate::store::catalog::{Archive, END, Opened};
use crate::util::units::hexadecimal;

/// A backup that is sent, a directory as a tar archive.
#[derive(Debug)]
pub struct ByteSource {
    /// The name of the document.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(File),
    /// A directory, as a tar archive.
    Archive(Archive),
}

impl ByteSource {
    /// A source of this backup. It can still be read when its name is removed or replaced.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn of(opened: Opened) -> io::Result<Self> {
        let name = opened.name.as_str().to_owned();
        if opened.is_directory() {
            let archive = Archive::of(opened, &name)?;
            return Ok(Self {
                name: name + ".tar",
                size: archive.length,
                content: Content::Archive(archive),
            });
        }
        let size = opened.status.st_size.cast_unsigned();
        Ok(Self { name, size, content: Content::File(opened.file) })
    }

    /// Reads `length` bytes from `offset` on.
    pub fn part(&self, offset: u64, length: u64) -> Part<'_> {
        Part { source: self, at: offset, end: (offset + length).min(self.size), member: None }
    }

    /// The SHA-256 of `length` bytes from `offset` on, in hexadecimal.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn digest(&self, offset: u64, length: u64) -> io::Result<String> {
        let (mut part, mut digest, mut chunk) =
            (self.part(offset, length), Sha256::new(), vec![0; 64 * 1024]);
        loop {
            match part.read(&mut chunk) {
                Ok(0) => return Ok(hexadecimal(&digest.finalize())),
                Ok(read) => digest.update(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A part of a source, being read.
pub struct Part<'a> {
    source: &'a ByteSource,
    at: u64,
    end: u64,
    /// The member of the archive that is open, by its place.
    member: Option<(usize, File)>,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = match &self.source.content {
            Content::File(file) => file.read_at(buffer, self.at)?,
            Content::Archive(archive) => read_archive(archive, &mut self.member, self.at, buffer)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads a tar archive that is not stored anywhere, from `at` on.
fn read_archive(
    archive: &Archive,
    open: &mut Option<(usize, File)>,
    at: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut start = 0;
    for (place, member) in archive.members.iter().enumerate() {
        let (header, size) = (member.header.len() as u64, member.size);
        let end = start + header + size + member.padding();
        if at < end {
            return match at - start {
                at if at < header => Ok(copy(&member.header, at, buffer)),
                at if at < header + size => {
                    if open.as_ref().is_none_or(|(opened, _)| *opened != place) {
                        *open = Some((place, archive.open(member)?));
                    }
                    let Some((_, file)) = open else { return Ok(0) };
                    file.read_at(buffer, at - header)
                }
                _ => Ok(zeros(end - at, buffer)),
            };
        }
        start = end;
    }
    Ok(copy(&END, at - start, buffer))
}

fn copy(from: &[u8], at: u64, to: &mut [u8]) -> usize {
    let rest = usize::try_from(at).ok().and_then(|at| from.get(at..)).unwrap_or_default();
    let length = rest.len().min(to.len());
    to[..length].copy_from_slice(&rest[..length]);
    length
}

fn zeros(left: u64, to: &mut [u8]) -> usize {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(to.len());
    to[..length].fill(0);
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalog::{BackupDirectory, BackupName, Slot};

    #[test]
    fn a_directory_is_a_tar_archive_of_which_any_part_can_be_read() {
        let root = tempfile::tempdir().unwrap();
        let backups = BackupDirectory::new(root.path());
        backups.prepare().unwrap();
        let name = BackupName::parse("app-20260416-143000.dump").unwrap();
        let path = backups.path(Slot::Last, &name);
        std::fs::create_dir(&path).unwrap();
        for (file, length) in [("1.dat", 1000), ("2.dat", 0), ("toc.dat", 512)] {
            std::fs::write(path.join(file), vec![b'x'; length]).unwrap();
        }
        let source = ByteSource::of(backups.open(Slot::Last, &name).unwrap()).unwrap();
        assert_eq!(source.name, "app-20260416-143000.dump.tar");
        let mut whole = Vec::new();
        source.part(0, u64::MAX / 2).read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len() as u64, source.size);
        let mut archive = tar::Archive::new(&whole[..]);
        let sizes: Vec<u64> = archive.entries().unwrap().map(|member| member.unwrap().size()).collect();
        assert_eq!(sizes, [1000, 0, 512]);
        for cut in [1, 511, 700] {
            let mut parts = Vec::new();
            for offset in (0..source.size).step_by(cut) {
                source.part(offset, cut as u64).read_to_end(&mut parts).unwrap();
            }
            assert!(parts == whole, "{cut}");
        }
        assert_eq!(source.digest(5, 9).unwrap(), hexadecimal(&Sha256::digest(&whole[5..14])));
    }
}
