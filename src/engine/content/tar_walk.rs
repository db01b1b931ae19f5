//! Follows a tar archive as it streams by, to check that it is complete. pg_restore does not check that: it reads
//! endlessly where a tar archive is cut off (seen with versions 15 to 18).

use tar::Header;

use super::header::is_contents;

const BLOCK: usize = 512;
/// Number of first bytes of a member that are looked at.
const PEEK: usize = 16;

/// Largest table of contents that is kept, in bytes. A larger one would need millions of objects.
const LARGEST: usize = 256 * 1024 * 1024;

/// The state of a tar archive at the current position.
#[derive(Debug, Default)]
pub struct TarWalk {
    /// The header that is being collected.
    header: Vec<u8>,
    /// Bytes of the current member that are still to come, with its padding.
    to_come: u64,
    /// The first bytes of a member with the file name of a table of contents.
    contents: Option<Vec<u8>>,
    /// Whether the whole table of contents is kept.
    keeps_contents: bool,
    kept: Option<Vec<u8>>,
    empty_blocks: u32,
    is_broken: bool,
    holds_directory: bool,
}

impl TarWalk {
    /// One that keeps the table of contents of a dump in directory format.
    pub fn keeping_contents() -> Self {
        Self { keeps_contents: true, ..Self::default() }
    }

    /// The table of contents of a dump in directory format, if it was kept.
    pub fn into_contents(self) -> Option<Vec<u8>> {
        self.kept
    }

    /// Takes the next bytes.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_broken {
            let wanted = match self.to_come {
                0 => BLOCK - self.header.len(),
                to_come => usize::try_from(to_come).unwrap_or(usize::MAX),
            };
            let (part, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            match self.to_come {
                0 => self.take_header(part),
                _ => self.take_body(part),
            }
        }
    }

    fn take_header(&mut self, part: &[u8]) {
        self.header.extend_from_slice(part);
        if self.header.len() < BLOCK {
            return;
        }
        let block = std::mem::take(&mut self.header);
        if block.iter().all(|byte| *byte == 0) {
            self.empty_blocks += 1;
            return;
        }
        let header = Header::from_byte_slice(&block);
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        let is_sound = header.cksum().is_ok_and(|stated| stated == sum + 8 * u32::from(b' '));
        let blocks = header.entry_size().ok().and_then(|size| size.checked_next_multiple_of(BLOCK as u64));
        match blocks {
            // No member may follow the end of the archive.
            Some(bytes) if is_sound && self.empty_blocks == 0 => {
                self.to_come = bytes;
                let path = header.path().unwrap_or_default();
                let is_contents = path.file_name().is_some_and(|name| name == "toc.dat");
                self.contents = is_contents.then(Vec::new);
            }
            _ => self.is_broken = true,
        }
    }

    fn take_body(&mut self, part: &[u8]) {
        self.to_come -= part.len() as u64;
        if let Some(contents) = &mut self.contents {
            let limit = if self.keeps_contents { LARGEST } else { PEEK };
            contents.extend_from_slice(&part[..part.len().min(limit - contents.len())]);
            if contents.len() == limit || self.to_come == 0 {
                let is_one = is_contents(contents);
                self.holds_directory |= is_one;
                let contents = self.contents.take();
                if self.keeps_contents && is_one && self.to_come == 0 {
                    self.kept = contents;
                }
            }
        }
    }

    /// Whether the archive is complete.
    pub fn is_complete(&self) -> bool {
        !self.is_broken && self.empty_blocks >= 2 && self.header.is_empty()
    }

    /// Whether it has the table of contents of a dump in directory format.
    pub fn holds_directory(&self) -> bool {
        self.holds_directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn walk(bytes: &[u8], step: usize) -> TarWalk {
        let mut walk = TarWalk::default();
        bytes.chunks(step).for_each(|chunk| walk.take(chunk));
        walk
    }

    #[test]
    fn an_archive_is_complete_however_it_is_cut_into_pieces_and_no_part_of_it_is() {
        let contents = [&b"PGDMP\x01\x0e\x00\x04\x08\x03"[..], &[7; 600]].concat();
        let bytes = archive(&[("app/1.dat", &[1; 1000]), ("app/2.dat", b""), ("app/toc.dat", &contents)]);
        for step in [1, 7, 511, 512, 513, 100_000] {
            let walk = walk(&bytes, step);
            assert!(walk.is_complete() && walk.holds_directory(), "{step}");
            let mut walk = TarWalk::keeping_contents();
            bytes.chunks(step).for_each(|chunk| walk.take(chunk));
            assert!(walk.into_contents().is_some_and(|kept| kept.starts_with(&contents)), "{step}");
        }
        for length in 0..bytes.len() {
            assert!(!walk(&bytes[..length], 4096).is_complete(), "{length}");
        }
    }

    #[test]
    fn a_size_beyond_all_measure_is_damage() {
        let mut header = Header::new_gnu();
        header.set_size(u64::MAX);
        header.set_cksum();
        assert!(!walk(&[header.as_bytes().as_slice(), &[0; 1024]].concat(), 512).is_complete());
    }

    #[test]
    fn damage_in_a_header_and_bytes_after_the_end_are_seen() {
        let mut bytes = archive(&[("x", b"y")]);
        let longer = [bytes.as_slice(), &[1; 512]].concat();
        assert!(!walk(&longer, 4096).is_complete());
        assert!(!walk(&bytes, 4096).holds_directory());
        bytes[3] ^= 1;
        assert!(!walk(&bytes, 4096).is_complete());
    }
}
