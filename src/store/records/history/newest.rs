//! Finds the newest run of a server, from the end of the history file.

use std::io::{self, Read, Seek, SeekFrom};

use super::file::open;
use super::run::Run;
use crate::store::catalog::BackupDirectory;

/// Sizes in bytes of the tail searched: first enough for a few runs, then for some hundred.
const TAILS: [u64; 2] = [16 << 10, 256 << 10];

/// The newest run of this server, or of any for `None`. Only the end of a long history is searched; runs of other
/// servers are not expected to fill it.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn newest_of(directory: &BackupDirectory, server: Option<&str>) -> io::Result<Option<Run>> {
    let mut found = None;
    for length in TAILS {
        let bytes = tail(directory, length)?;
        let lines = bytes.split(|byte| *byte == b'\n').rev();
        found =
            lines.filter_map(|line| serde_json::from_slice(line).ok()).find(|run: &Run| run.is_of(server));
        if found.is_some() || (bytes.len() as u64) < length {
            break;
        }
    }
    Ok(found)
}

/// At most `length` bytes from the end of the file; empty if there is no file.
fn tail(directory: &BackupDirectory, length: u64) -> io::Result<Vec<u8>> {
    let Some(mut file) = open(directory)? else { return Ok(Vec::new()) };
    file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(length)))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::records::history::append;
    use crate::store::records::history::tests::run;

    #[test]
    fn the_newest_run_of_a_server_is_found_behind_those_of_others() {
        let root = tempfile::tempdir().unwrap();
        let directory = BackupDirectory::new(root.path());
        let of = |server: &str, start| Run { server: server.into(), ..run(start) };
        assert_eq!(newest_of(&directory, Some("a:1")).unwrap(), None);
        append(&directory, &run(1)).unwrap();
        append(&directory, &of("b:1", 2)).unwrap();
        assert_eq!(newest_of(&directory, Some("a:1")).unwrap(), Some(run(1)));
        append(&directory, &of("a:1", 3)).unwrap();
        (4..1000).for_each(|start| append(&directory, &of("b:1", start)).unwrap());
        assert_eq!(newest_of(&directory, Some("a:1")).unwrap(), Some(of("a:1", 3)));
        assert_eq!(newest_of(&directory, None).unwrap(), Some(of("b:1", 999)));
    }
}
