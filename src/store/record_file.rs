//! Reads small files of the backup directory. Others may be able to write there, so anything but a regular file and
//! anything too long is rejected, and error messages never quote the contents.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::util::durable;

/// Longest file read, in bytes: the result of a run of about 10,000 databases.
pub const LONGEST: u64 = 8 << 20;

/// Reads a file if it exists. Errors start with its name.
///
/// # Errors
/// When it cannot be read, is not a regular file, or is too long.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match durable::open_to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            opened.and_then(|file| read_opened(&file, LONGEST)).map(Some).map_err(|error| of(path, error))
        }
    }
}

/// Reads a file as JSON if it exists. Errors start with its name.
///
/// # Errors
/// As for [`read`], and when the contents are invalid.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = read(path)?;
    text.map(|text| parse(&text)).transpose().map_err(|error| of(path, error))
}

/// Reads a file from its start, at most `longest` bytes.
///
/// # Errors
/// When it cannot be read or is longer.
pub fn read_opened(mut file: &File, longest: u64) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > longest {
        true => Err(io::Error::other(format!("is longer than {longest} bytes"))),
        false => Ok(bytes),
    }
}

/// Reads at most `longest` bytes from the end of a file. Also returns the offset at which they start.
///
/// # Errors
/// When it cannot be read.
pub fn read_end(mut file: &File, longest: u64) -> io::Result<(Vec<u8>, u64)> {
    let begin = file.metadata()?.len().saturating_sub(longest);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(longest).read_to_end(&mut bytes)?;
    Ok((bytes, begin))
}

/// Parses JSON.
///
/// # Errors
/// When it is not JSON or has unexpected contents; the error gives the position but no contents.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = match error.classify() {
            Category::Data => format!("does not have the expected contents (line {line}, column {column})"),
            Category::Eof => format!("is cut off (line {line}, column {column})"),
            Category::Syntax | Category::Io => format!("is not JSON (line {line}, column {column})"),
        };
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// Prefixes an error with the name of the file.
pub fn of(path: &Path, error: io::Error) -> io::Error {
    let name = path.file_name().unwrap_or(path.as_os_str()).display();
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::store::records::Report;

    const SECRET: &str = "hunter2";

    #[test]
    fn what_is_no_file_is_refused_at_once_and_nothing_of_it_is_told() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("outside"), SECRET).unwrap();
        symlink(path("outside"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        fs::create_dir(path("directory")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (name, said) in [
            ("link", "link: is a symbolic link"),
            ("zero", "zero: is a symbolic link"),
            ("dangling", "dangling: is a symbolic link"),
            ("fifo", "fifo: is not a regular file"),
            ("directory", "directory: is not a regular file"),
            ("socket", "socket: is not a regular file"),
        ] {
            assert_eq!(read(&path(name)).unwrap_err().to_string(), said);
        }
        assert_eq!(read(&path("missing")).unwrap(), None);
        assert_eq!(read(&path("outside")).unwrap().unwrap(), SECRET.as_bytes());
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_however_long_it_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("sparse");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(LONGEST).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().len() as u64, LONGEST);
        file.set_len(1 << 41).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "sparse: is longer than 8388608 bytes");
        let (end, begin) = read_end(&file, 10).unwrap();
        assert_eq!((end, begin), (vec![0; 10], (1 << 41) - 10));
    }

    #[test]
    fn nothing_that_stands_in_json_gets_into_an_error() {
        for text in [
            format!("{{\"status\": \"{SECRET}\"}}"),
            format!("{{\"{SECRET}\": 1}}"),
            format!("{{\"status\": \"OK\", \"timestamp\": \"{SECRET}\"}}"),
            format!("\"{SECRET}\""),
            SECRET.to_owned(),
            format!("[{SECRET}"),
            format!("{{\"status\": \"{SECRET}"),
        ] {
            let error = parse::<Report>(text.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains(SECRET) && error.contains("(line 1, column "), "{text}: {error}");
        }
        assert!(parse::<Report>(b"\xff\xfe").unwrap_err().to_string().starts_with("is not JSON"));
    }
}
