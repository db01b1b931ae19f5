//! Forms with a file in them, as `multipart/form-data`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// What a call brings.
#[derive(Default)]
pub struct Form {
    pub fields: HashMap<String, String>,
    pub file: Option<Uploaded>,
}

/// A file that came with it.
pub struct Uploaded {
    pub path: PathBuf,
    pub name: String,
    pub size: u64,
}

/// Reads a form of `length` bytes whose file comes last; that goes to `path` as it comes.
pub fn read(reader: &mut dyn Read, boundary: &str, length: usize, path: &Path) -> io::Result<Form> {
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (mut reader, mut form, mut taken) = (BufReader::new(reader), Form::default(), 0);
    let mut read_to = |reader: &mut BufReader<_>, end: &str| {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            taken += match reader.read_until(b'\n', &mut text)? {
                0 => return Err(short()),
                length => length,
            };
        }
        Ok((String::from_utf8_lossy(&text[..text.len() - end.len()]).into_owned(), taken))
    };
    loop {
        let (head, taken) = read_to(&mut reader, "\r\n\r\n")?;
        let quoted = |key: &str| {
            let (_, rest) = head.split_once(&format!("{key}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let Some(name) = quoted("filename") else {
            let (value, _) = read_to(&mut reader, &format!("\r\n--{boundary}\r\n"))?;
            form.fields.insert(quoted(" name").ok_or_else(short)?, value);
            continue;
        };
        // The length of all is known, and with it that of the file.
        let tail = format!("\r\n--{boundary}--\r\n").len();
        let size = length.checked_sub(taken + tail).ok_or_else(short)? as u64;
        let copied = io::copy(&mut reader.by_ref().take(size), &mut File::create(path)?)?;
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest)?;
        form.file = Some(Uploaded { path: path.to_path_buf(), name, size });
        return if copied == size && rest.len() == tail { Ok(form) } else { Err(short()) };
    }
}
