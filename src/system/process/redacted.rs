//! The output of a program without secrets, also if a read ends within one.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::settings::Redactor;

/// Bytes that are read at a time.
const CHUNK: usize = 8192;
/// The longest line that is waited for. Of a longer one its beginning is handed on.
const LONGEST_LINE: usize = 64 * 1024;
/// How long to wait for the end of a line. A prompt or a progress display has none.
const QUIET: Duration = Duration::from_millis(300);

/// Reads an output and hands it on clean: line by line, or what there is of a line when nothing comes for a moment. What
/// could be the beginning of a secret is kept back until it is known to be none.
#[derive(Debug)]
pub struct Redacted<R> {
    from: R,
    redactor: Redactor,
    /// As it was read.
    unclean: Vec<u8>,
    /// To be handed on, from `handed` on.
    clean: Vec<u8>,
    handed: usize,
    /// Nothing has come since what there was of a line was handed on.
    is_settled: bool,
    has_begun: bool,
    has_ended: bool,
}

impl<R: Read + AsFd> Redacted<R> {
    /// Cleans what comes from here.
    pub fn new(from: R, redactor: Redactor) -> Self {
        Self {
            from,
            redactor,
            unclean: Vec::new(),
            clean: Vec::new(),
            handed: 0,
            is_settled: false,
            has_begun: false,
            has_ended: false,
        }
    }

    /// Waits for more, or for the moment in which nothing comes.
    fn advance(&mut self) -> io::Result<()> {
        if !self.unclean.is_empty() && !self.is_settled && !is_readable(&self.from, QUIET)? {
            self.is_settled = true;
            let begun = self.redactor.begun(&self.unclean);
            self.clean_up_to(begun);
            return Ok(());
        }
        let before = self.unclean.len();
        self.unclean.resize(before + CHUNK, 0);
        let read = self.from.read(&mut self.unclean[before..]);
        self.unclean.truncate(before + read.as_ref().copied().unwrap_or_default());
        let count = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            read => read?,
        };
        if count == 0 {
            self.has_ended = true;
            self.clean = self.redactor.clean_end(&std::mem::take(&mut self.unclean));
            return Ok(());
        }
        self.is_settled = false;
        if !self.has_begun {
            // The secrets are read again, as files of secrets may have changed.
            self.redactor.expire();
            self.has_begun = true;
        }
        self.redactor.refresh();
        let after_line = memchr::memrchr(b'\n', &self.unclean).map_or(0, |end| end + 1);
        self.clean_up_to(after_line);
        if self.unclean.len() > LONGEST_LINE + self.redactor.longest() {
            let seam = self.redactor.seam(&self.unclean, LONGEST_LINE);
            self.clean_up_to(seam);
        }
        Ok(())
    }

    fn clean_up_to(&mut self, end: usize) {
        self.clean.extend(self.redactor.clean_bytes(&self.unclean[..end]));
        self.unclean.drain(..end);
    }
}

impl<R: Read + AsFd> Read for Redacted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.handed == self.clean.len() && !self.has_ended {
            self.clean.clear();
            self.handed = 0;
            self.advance()?;
        }
        let count = buffer.len().min(self.clean.len() - self.handed);
        buffer[..count].copy_from_slice(&self.clean[self.handed..self.handed + count]);
        self.handed += count;
        Ok(count)
    }
}

/// Whether there is something to read, or the end, before this time has passed.
fn is_readable(from: &impl AsFd, time: Duration) -> io::Result<bool> {
    let mut ends = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ends, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::settings::Secret;

    const SECRET: &str = "s3cret-0123456789-abcdefgh";
    const SOON: Duration = Duration::from_secs(20);

    /// An output that somebody writes to, and what is handed on of it.
    fn output() -> (PipeWriter, Receiver<Vec<u8>>) {
        let (from, to) = io::pipe().unwrap();
        let mut redacted = Redacted::new(from, Redactor::new(&[Secret::new(SECRET)]));
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = redacted.read(&mut buffer) {
                tell.send(buffer[..count].to_vec()).unwrap();
            }
        });
        (to, told)
    }

    fn everything(told: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(told.iter().collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn wherever_reads_and_pauses_cut_a_secret_nothing_of_it_is_handed_on() {
        for cut in (1..SECRET.len()).step_by(5) {
            let (mut to, told) = output();
            let (head, tail) = SECRET.split_at(cut);
            to.write_all(format!("PASSWORD={head}").as_bytes()).unwrap();
            // All that is no secret comes meanwhile, although the line has not ended.
            assert_eq!(told.recv_timeout(SOON).unwrap(), b"PASSWORD=", "{cut}");
            to.write_all(format!("{tail} x\n").as_bytes()).unwrap();
            drop(to);
            assert_eq!(everything(&told), "*** x\n", "{cut}");
        }
    }

    #[test]
    fn a_line_that_never_ends_is_handed_on_whole_and_clean() {
        for offset in [0, 1, 13, SECRET.len()] {
            let (mut to, told) = output();
            let filler = "x".repeat(LONGEST_LINE - offset);
            let writing = {
                let text = format!("{filler}{SECRET}{filler}{SECRET}");
                std::thread::spawn(move || to.write_all(text.as_bytes()).unwrap())
            };
            assert!(everything(&told) == format!("{filler}***{filler}***"), "{offset}");
            writing.join().unwrap();
        }
    }

    #[test]
    fn what_is_no_text_passes_and_a_secret_that_is_cut_off_by_the_end_does_not() {
        let (mut to, told) = output();
        to.write_all(b"\xff\r\n\0").unwrap();
        to.write_all(&SECRET.as_bytes()[..12]).unwrap();
        drop(to);
        assert_eq!(told.iter().collect::<Vec<_>>().concat(), b"\xff\r\n\0***");
    }
}
