//! Encryption with a passphrase, by gpg in the middle of a stream: neither the plaintext nor the passphrase
//! ever lies in a file or stands in the process list.
//!
//! gpg reads the passphrase as the first line of its standard input and leaves the rest of that to be the
//! message (`--passphrase-fd 0`), so no further descriptor has to be handed down.

mod home;

use std::io::{self, Read, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;

use crate::settings::{Secret, remove_secrets};
use crate::system::process::{Child, Listener, ProgramError, Runner};
use home::Home;

/// Bytes moved at a time: a pipe's capacity.
const CHUNK: usize = 64 * 1024;

/// How gpg encrypts.
const ENCRYPTION: [&str; 6] = [
    "--symmetric",
    "--cipher-algo=AES256",
    "--compress-algo=none",
    "--s2k-mode=3",
    "--s2k-digest-algo=SHA512",
    // The most that gpg takes: guessing a passphrase costs as much as can be.
    "--s2k-count=65011712",
];

/// gpg with a passphrase.
#[derive(Debug, Clone)]
pub struct Gpg {
    runner: Runner,
    passphrase: Secret,
}

impl Gpg {
    /// gpg with this passphrase, which is one line.
    pub fn new(passphrase: Secret, runner: Runner) -> Self {
        Self { runner, passphrase }
    }

    /// Encrypts what is written to the answer into `sink`, with AES-256 and without compressing it again.
    ///
    /// # Errors
    /// When gpg cannot be started.
    pub fn encrypt<W: Write + Send + 'static>(&self, sink: W) -> Result<Encryptor<W>, ProgramError> {
        self.encrypt_with(&ENCRYPTION, sink)
    }

    /// Encrypts a short text, into ASCII armour.
    ///
    /// # Errors
    /// When gpg fails.
    pub fn encrypt_text(&self, text: &[u8]) -> io::Result<String> {
        let armoured = [&ENCRYPTION[..], &["--armor"]].concat();
        let mut encryptor = self.encrypt_with(&armoured, Vec::new()).map_err(io::Error::other)?;
        encryptor.write_all(text)?;
        String::from_utf8(encryptor.finish()?).map_err(io::Error::other)
    }

    /// Decrypts a short text.
    ///
    /// # Errors
    /// When gpg fails, as with another passphrase.
    pub fn decrypt_text(&self, armoured: &str) -> io::Result<Vec<u8>> {
        let source = io::Cursor::new(armoured.as_bytes().to_vec());
        let mut text = Vec::new();
        self.decrypt(source).map_err(io::Error::other)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn encrypt_with<W: Write + Send + 'static>(
        &self,
        arguments: &[&str],
        sink: W,
    ) -> Result<Encryptor<W>, ProgramError> {
        let (running, stdin, stdout) = self.start(arguments)?;
        let sink = thread::Builder::new().name("gpg output".into()).spawn(move || drain(stdout, sink));
        let sink = sink.map_err(start_error)?;
        Ok(Encryptor { running: Some(running), stdin: Some(stdin), sink: Some(sink) })
    }

    /// Decrypts `source`. What is read from the answer is genuine only when its end has been read.
    ///
    /// # Errors
    /// When gpg cannot be started.
    pub fn decrypt(&self, source: impl Read + Send + 'static) -> Result<Decryptor, ProgramError> {
        let (running, stdin, stdout) = self.start(&["--decrypt"])?;
        let feeder = thread::Builder::new().name("gpg input".into()).spawn(move || feed(source, stdin));
        let feeder = feeder.map_err(start_error)?;
        Ok(Decryptor { running: Some(running), stdout, feeder: Some(feeder) })
    }

    fn start(&self, arguments: &[&str]) -> Result<(Running, ChildStdin, ChildStdout), ProgramError> {
        let home = Home::make().map_err(start_error)?;
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", home.path());
        remove_secrets(&mut command);
        command.args(["--batch", "--quiet", "--no-options", "--no-autostart", "--no-random-seed-file"]);
        command.args(["--no-tty", "--pinentry-mode=loopback", "--passphrase-fd=0"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.runner.spawn(&mut command)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let said = Listener::start(child.stderr.take());
        let running = Running { child, said, runner: self.runner.clone(), _home: home };
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(start_error(io::ErrorKind::BrokenPipe.into()));
        };
        // A gpg that ends before it has read this says why by its exit status.
        let _ = stdin.write_all(format!("{}\n", self.passphrase.expose()).as_bytes());
        Ok((running, stdin, stdout))
    }
}

fn start_error(error: io::Error) -> ProgramError {
    ProgramError::Start("gpg".into(), error)
}

/// gpg at work, in a home that goes with it.
#[derive(Debug)]
struct Running {
    child: Child,
    said: Listener,
    runner: Runner,
    _home: Home,
}

impl Running {
    /// Waits for its end, and answers its failure.
    fn finish(self) -> io::Result<()> {
        let exit = self.child.wait();
        let said = self.said.finish();
        match exit.success() {
            true => Ok(()),
            false => Err(io::Error::other(self.runner.failure("gpg".as_ref(), exit, &said))),
        }
    }

    /// Ends it, as nobody wants its work any more.
    fn abandon(self) {
        // At TERM it would have something to say.
        self.child.signaller().signal(Signal::SIGKILL);
        let _ = self.finish();
    }
}

/// Encrypts what is written to it. Only [`finish`](Self::finish) makes it a whole message.
#[derive(Debug)]
pub struct Encryptor<W> {
    running: Option<Running>,
    stdin: Option<ChildStdin>,
    sink: Option<JoinHandle<(W, io::Result<()>)>>,
}

impl<W> Encryptor<W> {
    /// Waits until everything has arrived in the sink, and gives that back.
    ///
    /// # Errors
    /// When gpg fails or the sink cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        drop(self.stdin.take());
        self.end()
    }

    fn end(&mut self) -> io::Result<W> {
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (sink, drained) = self.sink.take().ok_or_else(ended)?.join().map_err(|_| ended())?;
        let finished = self.running.take().map_or(Ok(()), Running::finish);
        match drained {
            // It says best itself why there is no message.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => finished.and(Err(error)),
            // A sink that is full is why gpg failed, and not the other way round.
            drained => drained.and(finished).map(|()| sink),
        }
    }
}

impl<W> Write for Encryptor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.stdin else { return Err(io::ErrorKind::BrokenPipe.into()) };
        stdin.write(bytes).or_else(|error| {
            self.stdin = None;
            self.end().and(Err(error))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W> Drop for Encryptor<W> {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Some(running) = self.running.take() {
            running.abandon();
        }
    }
}

/// A message that is being decrypted.
#[derive(Debug)]
pub struct Decryptor {
    running: Option<Running>,
    stdout: ChildStdout,
    feeder: Option<JoinHandle<io::Result<()>>>,
}

impl Decryptor {
    fn end(&mut self) -> io::Result<()> {
        let fed = self.feeder.take().map_or(Ok(Ok(())), JoinHandle::join);
        let finished = self.running.take().map_or(Ok(()), Running::finish);
        // What could not be read is missing from the message, of which gpg then complains.
        fed.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).and(finished)
    }
}

impl Read for Decryptor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stdout.read(buffer)? {
            0 if !buffer.is_empty() => self.end().map(|()| 0),
            length => Ok(length),
        }
    }
}

impl Drop for Decryptor {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abandon();
        }
    }
}

fn drain<W: Write>(mut stdout: ChildStdout, mut sink: W) -> (W, io::Result<()>) {
    let mut chunk = vec![0; CHUNK];
    let mut is_message = false;
    loop {
        let moved = match stdout.read(&mut chunk) {
            Ok(0) if is_message => return (sink, Ok(())),
            // Whatever calls itself gpg: what it passes on in clear must not reach the disk.
            Ok(length) if !is_message && !begins_message(&chunk[..length]) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "gpg did not write an encrypted message"))
            }
            Ok(length) => {
                is_message = true;
                sink.write_all(&chunk[..length])
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        };
        if moved.is_err() {
            return (sink, moved);
        }
    }
}

/// Whether this begins with OpenPGP's packet of a symmetrically encrypted session key, in either framing, or with the
/// armour around it.
fn begins_message(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x8c..=0x8f | 0xc3)) || bytes.starts_with(b"-----BEGIN PGP MESSAGE-----")
}

fn feed(mut source: impl Read, mut stdin: ChildStdin) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if stdin.write_all(&chunk[..length]).is_err() {
            // It has ended, and its exit status says why.
            return Ok(());
        }
    }
}
