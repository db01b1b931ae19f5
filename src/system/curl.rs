//! Runs curl. Its configuration goes to it on a pipe, so that no URL, token or password is among its arguments.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::system::process::{Child, Exit, Listener, ProgramError, Runner};
use crate::util::curl::{confine, quote};

/// What each curl is told: to read no configuration of a user, and to take a URL as it stands.
const ALWAYS: [&str; 2] = ["--disable", "--globoff"];
/// curl with its configuration on descriptor 3 and a socket as standard input and output: more than three descriptors
/// cannot be handed down without unsafe code, so a shell puts them where they belong.
const ON_SOCKET: &str = "exec 3<&0 0<&1; exec curl --disable --globoff --config /dev/fd/3";

/// Whether this is how curl ends that could not be run: not found by the shell, or its libraries could not be loaded, as
/// for want of memory (`_dl_signal_error` in glibc).
pub fn could_not_run(exit: Exit) -> bool {
    exit == Exit::Code(127)
}

/// A call of curl.
#[derive(Default)]
pub struct Curl {
    /// Lines of its configuration. Of two that exclude each other the later one counts.
    config: Vec<String>,
}

impl Curl {
    /// Adds the URL to ask.
    pub fn url(self, url: &str) -> Self {
        self.setting("url", url)
    }

    /// Adds a field to the head of the request.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.setting("header", &format!("{name}: {value}"))
    }

    /// Adds an option with its value.
    pub fn setting(mut self, option: &str, value: &str) -> Self {
        self.config.push(format!("{option} = {}", quote(value)));
        self
    }

    /// Adds lines of configuration.
    pub fn lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.config.extend(lines);
        self
    }

    /// The command with these arguments, which must hold no secret, and what goes to its standard input.
    pub fn command(&self, arguments: &[&str]) -> (Command, String) {
        let mut command = Command::new("curl");
        confine(&mut command);
        command.args(ALWAYS).args(arguments).args(["--config", "-"]);
        (command, self.text())
    }

    /// Starts curl with a socket as its standard input and output. Its end of the socket is closed here, so that the
    /// other one sees when curl closes it.
    ///
    /// # Errors
    /// When a stop signal has come, or curl cannot be started.
    pub fn start_on(&self, socket: UnixStream, runner: &Runner) -> Result<(Child, Listener), ProgramError> {
        let mut command = Command::new("sh");
        command.args(["-c", ON_SOCKET]);
        confine(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::from(OwnedFd::from(socket))).stderr(Stdio::piped());
        let mut child = runner.spawn(&mut command)?;
        drop(command);
        let said = Listener::start(child.stderr.take());
        if let Some(mut stdin) = child.stdin.take() {
            // A curl that cannot read it says so.
            let _ = stdin.write_all(self.text().as_bytes());
        }
        Ok((child, said))
    }

    fn text(&self) -> String {
        self.config.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_in_the_configuration_and_not_among_the_arguments() {
        let curl = Curl::default().lines(["-L".to_owned()]).url("http://h/T0KEN").header("X-Key", "a\"b");
        let (command, config) = curl.command(&["--fail"]);
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_str().unwrap()).collect();
        assert_eq!(arguments, ["--disable", "--globoff", "--fail", "--config", "-"]);
        assert_eq!(config, "-L\nurl = \"http://h/T0KEN\"\nheader = \"X-Key: a\\\"b\"\n");
    }
}
