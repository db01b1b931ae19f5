//! Passes the output of the user's programs on to our own output, without secrets.

use std::io::{self, Read, Write};
use std::process::Command;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::lines::for_each_line;
use super::redacted::Redacted;
use crate::settings::Redactor;
use crate::system::logger;
use crate::util::terminal;

/// Logs what a program prints line by line if the log is JSON, or else passes each of its two streams on to our own.
/// The channel is disconnected when both have ended.
///
/// # Errors
/// When pipes or threads cannot be had.
pub(super) fn pass_output(command: &mut Command) -> io::Result<Receiver<()>> {
    let (ended, end) = bounded(0);
    let (output, stdout) = io::pipe()?;
    if logger::is_json() {
        command.stderr(stdout.try_clone()?).stdout(stdout);
        log(output, ended)?;
    } else {
        let (errors, stderr) = io::pipe()?;
        command.stdout(stdout).stderr(stderr);
        pass_on(output, io::stdout(), ended.clone())?;
        pass_on(errors, io::stderr(), ended)?;
    }
    Ok(end)
}

fn log(from: io::PipeReader, ended: Sender<()>) -> io::Result<()> {
    thread::Builder::new().name("output".into()).spawn(move || {
        for_each_line(Redacted::new(from, Redactor::of_process()), |line| log::info!("{line}"));
        drop(ended);
    })?;
    Ok(())
}

fn pass_on(from: io::PipeReader, mut to: impl Write + Send + 'static, ended: Sender<()>) -> io::Result<()> {
    thread::Builder::new().name("output".into()).spawn(move || {
        let mut clean = Redacted::new(from, Redactor::of_process());
        let (mut chunk, mut last) = ([0; 8192], b'\n');
        // A write may fail as nobody reads our output; the program goes on.
        let mut write = |bytes: &[u8]| {
            let _ = terminal::above_bottom_line(|_| to.write_all(bytes).and_then(|()| to.flush()));
        };
        while let Ok(count @ 1..) = clean.read(&mut chunk) {
            write(&chunk[..count]);
            last = chunk[count - 1];
        }
        if last != b'\n' {
            // Ends an unfinished line, so that our next one stands by itself.
            write(b"\n");
        }
        drop(ended);
    })?;
    Ok(())
}
