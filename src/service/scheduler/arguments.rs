//! The command line of go-cron, that of prodrigestivill/go-cron.

use std::ffi::OsString;

use lexopt::{Arg, ValueExt};

/// How go-cron is called, for `-h`.
pub const USAGE: &str = "\
go-cron -s '0 3 * * *' -p 8080 -- backupgram backup   every night at three
go-cron -s '@every 6h' -i -- backupgram backup        every six hours, and now

usage: go-cron [-s SCHEDULE] [-p PORT] [-i] -- COMMAND [ARGUMENT...]

Runs the command by the schedule until SIGTERM or SIGINT comes, one run at a
time, and reports over HTTP how the last one went.

  -s SCHEDULE  when to run the command, cron style (default \"* * * * *\")
  -p PORT      port of the health check, 0 for none (default 18080)
  -i           also run the command once at start

environment: TZ is the time zone of the schedule and of the log, LOG_FORMAT
(text, json) the log's form, RUST_LOG (error, warn, info, debug) how much is
logged. The command gets all of it.

exit status: 0 stopped by a signal; 1 invalid schedule, or the port cannot be
opened; 2 usage error.";

/// What go-cron was asked to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Show how it is called.
    Help,
    /// Run a command by a schedule.
    Serve(Service),
}

/// A command, when to run it, and where to tell about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// The schedule, not yet checked.
    pub schedule: String,
    /// The TCP port of the health check; `None` opens none.
    pub port: Option<u16>,
    /// Whether to run once at start, too.
    pub at_start: bool,
    /// The program to run.
    pub program: OsString,
    /// The program's arguments.
    pub arguments: Vec<OsString>,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    /// When an option is unknown or its value is bad, or no command is given.
    pub fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut schedule = "* * * * *".to_owned();
        let mut port = 18080;
        let mut at_start = false;
        // Go's flag package takes one dash or two.
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Short('s') | Arg::Long("s") => schedule = parser.value()?.string()?,
                Arg::Short('p') | Arg::Long("p") => port = port_number(&parser.value()?.string()?)?,
                Arg::Short('i') | Arg::Long("i") => at_start = true,
                Arg::Short('h') | Arg::Long("h" | "help") => return Ok(Self::Help),
                Arg::Value(program) => {
                    let arguments = parser.raw_args()?.collect();
                    let port = (port != 0).then_some(port);
                    return Ok(Self::Serve(Service { schedule, port, at_start, program, arguments }));
                }
                other => return Err(other.unexpected()),
            }
        }
        Err("no command given after --".into())
    }
}

fn port_number(text: &str) -> Result<u16, lexopt::Error> {
    text.parse().map_err(|_| format!("'{}' is not a port (0-65535)", text.escape_debug()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_follows_the_two_dashes_is_the_command_whatever_it_looks_like() {
        let expected = Service {
            schedule: "@daily".into(),
            port: Some(8080),
            at_start: true,
            program: "-x".into(),
            arguments: vec!["-p".into(), "--".into(), "a b".into()],
        };
        let arguments = ["-s", "@daily", "-p", "8080", "-i", "--", "-x", "-p", "--", "a b"];
        assert_eq!(parse(&arguments), Ok(Arguments::Serve(expected)));
    }

    #[test]
    fn the_defaults_are_every_minute_and_port_18080_and_port_0_is_none() {
        let Ok(Arguments::Serve(service)) = parse(&["--", "true"]) else { panic!("refused") };
        assert_eq!((&*service.schedule, service.port, service.at_start), ("* * * * *", Some(18080), false));
        let Ok(Arguments::Serve(service)) = parse(&["-p=0", "--s", "@hourly", "true"]) else {
            panic!("refused")
        };
        assert_eq!((&*service.schedule, service.port), ("@hourly", None));
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, message) in [
            (&["-s", "@daily", "--"][..], "no command given after --"),
            (&["-p", "65536", "--", "true"], "'65536' is not a port (0-65535)"),
            (&["-q", "--", "true"], "invalid option '-q'"),
            (&["-s"], "missing argument for option '-s'"),
        ] {
            assert_eq!(parse(arguments), Err(message.into()));
        }
    }
}
