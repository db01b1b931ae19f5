//! Connects to the server: waits for it, detects errors that waiting does not resolve, and finds out which database
//! can be used and whether the server accepts startup options.

use std::time::{Duration, Instant};

use super::client::{Client, DatabaseError};
use super::server::Server;
use crate::store::catalog::DatabaseName;
use crate::system::process::{Exit, ProgramError, Runner};

/// A startup option of our own. If the session has it, the server accepts options. Some poolers reject all options,
/// others ignore them.
const OPTION: &str = "-c backupgram.options=on";
/// Reads that option, the server's version and time, and psql's version. Names have their schema, because the
/// database's own search path is in effect.
const PROBE: &str = "SELECT pg_catalog.current_setting('backupgram.options', true), \
                            pg_catalog.current_setting('server_version'), \
                            CAST(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) AS pg_catalog.int8), \
                            :'VERSION_NAME';";

/// Seconds for psql, then for pg_isready. If only that succeeds, psql gets the timeout of the settings.
const PATIENCE: u32 = 3;

/// Texts of libpq errors that waiting does not resolve.
const NOT_MENDED: [&str; 8] = [
    "certificate",
    "private key",
    "SSL error",
    "SSL was required",
    "encryption required",
    "channel binding",
    "authentication failed",
    "no password supplied",
];

/// Texts of temporary errors, of a server that answers pg_isready or has just gone.
const PASSES: [&str; 14] = [
    // The server has created its socket since.
    "failed: No such file or directory",
    "the database system is ",
    "too many ",
    "remaining connection slots",
    "no more connections allowed",
    "cannot connect to server",
    "login has been failing",
    "session is ",
    "hot standby mode",
    "Connection refused",
    "Connection reset",
    "closed the connection",
    "could not translate host name",
    "timeout expired",
];

/// Result of a connection attempt.
enum Attempt {
    /// Connected.
    Answers,
    /// Would connect without startup options.
    TakesNoOptions,
    /// Not reachable yet.
    Waits(String),
    /// This database refuses us; another one may accept.
    Closed(String),
    /// The server refuses us.
    Refused(String),
}

impl Client {
    /// Waits until the server accepts a connection to one of `databases`, most preferred first. Retries after 0.1 s,
    /// doubling up to 2 s. Returns a client of that database that knows whether the server accepts startup options.
    ///
    /// # Errors
    /// At once on a permanent refusal, such as a wrong password; when the connect timeout expires; or on a stop
    /// signal.
    pub fn connect(
        server: &Server,
        databases: &[DatabaseName],
        runner: &Runner,
    ) -> Result<Self, DatabaseError> {
        let (address, limit) = (server.address(), server.connect_timeout);
        let deadline = Instant::now() + Duration::from_secs(limit.into());
        let mut pause = Duration::from_millis(100);
        let mut told = false;
        loop {
            let heard = match try_all(server, databases, runner)? {
                Ok(client) => return Ok(client),
                Err(Attempt::Waits(heard)) => heard,
                Err(Attempt::Closed(heard) | Attempt::Refused(heard)) => {
                    return Err(DatabaseError::Refused(address, heard));
                }
                Err(Attempt::Answers | Attempt::TakesNoOptions) => continue,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(DatabaseError::Unreachable(address, limit, heard));
            }
            if !told {
                log::info!("waiting up to {limit} s for the server {address}: {heard}");
                told = true;
            }
            runner.sleep(pause.min(left))?;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

/// Tries the databases in order.
fn try_all(
    server: &Server,
    databases: &[DatabaseName],
    runner: &Runner,
) -> Result<Result<Client, Attempt>, ProgramError> {
    let mut first = None;
    for database in databases {
        let mut client = Client::new(server.clone(), database.clone(), runner.clone());
        let mut attempt = try_one(&client, runner)?;
        if matches!(attempt, Attempt::TakesNoOptions) {
            let server = Server { takes_options: false, ..server.clone() };
            client = Client::new(server, database.clone(), runner.clone());
            attempt = try_one(&client, runner)?;
        }
        match attempt {
            Attempt::Answers => {
                if !client.server().takes_options {
                    log::info!(
                        "the server {} rejects startup options, as some poolers do: using SET instead, with \
                         one job",
                        server.address()
                    );
                }
                return Ok(Ok(client));
            }
            Attempt::Closed(heard) => {
                log::debug!("cannot use database {database}: {heard}");
                first.get_or_insert(Attempt::Closed(heard));
            }
            // The other databases would fail alike, or this one, which is preferred, may be available soon.
            attempt => return Ok(Err(attempt)),
        }
    }
    Ok(Err(first.unwrap_or_else(|| Attempt::Refused("there is no database to connect to".into()))))
}

/// Tries psql, which reports causes. If it fails, tries pg_isready, which needs no password.
fn try_one(client: &Client, runner: &Runner) -> Result<Attempt, ProgramError> {
    let mut said = match probe(client, runner, Some(PATIENCE))? {
        Ok(attempt) => return Ok(attempt),
        Err(said) => said,
    };
    let ping = match runner.run(client.command("pg_isready").args(["-t", &PATIENCE.to_string()]), b"") {
        Ok(_) => 0,
        Err(ProgramError::Failed(_, exit, _)) => exit.code(),
        Err(error) => return Err(error),
    };
    if ping == 0 && said.contains("timeout expired") {
        said = match probe(client, runner, None)? {
            Ok(attempt) => return Ok(attempt),
            Err(said) => said,
        };
    }
    Ok(judge(client.server(), ping, shortened(&said)))
}

/// Connects with psql and runs [`PROBE`], with the timeout `patience` or else that of the settings. Returns psql's
/// error if it cannot connect.
fn probe(
    client: &Client,
    runner: &Runner,
    patience: Option<u32>,
) -> Result<Result<Attempt, String>, ProgramError> {
    let mut psql = client.bare_psql();
    // libpq's messages are matched in English.
    psql.env("LC_ALL", "C").args(["--file", "-"]);
    if let Some(patience) = patience {
        psql.env("PGCONNECT_TIMEOUT", patience.to_string());
    }
    if client.server().takes_options {
        psql.env("PGOPTIONS", OPTION);
    }
    let output = match runner.run(&mut psql, PROBE.as_bytes()) {
        Ok(output) => output,
        Err(ProgramError::Failed(_, Exit::Code(_), said)) => return Ok(Err(said)),
        Err(error) => return Err(error),
    };
    let answer = String::from_utf8_lossy(&output.stdout);
    let mut said = answer.trim().split('|');
    let [option, version, clock, psql] = [(); 4].map(|()| said.next().unwrap_or_default());
    client.know(version, clock, psql);
    Ok(Ok(match client.server().takes_options && option != "on" {
        true => Attempt::TakesNoOptions,
        false => Attempt::Answers,
    }))
}

/// Exit status of pg_isready for a server that does not answer.
const NO_RESPONSE: i32 = 2;

/// Interprets psql's failure by pg_isready's exit status `ping`: 0 accepts connections, 1 not yet, 2 no server, 3
/// could not try.
fn judge(server: &Server, ping: i32, heard: String) -> Attempt {
    let says = |words: &[&str]| words.iter().any(|word| heard.contains(word));
    match ping {
        0 if server.takes_options && says(&["startup parameter", "option"]) => Attempt::TakesNoOptions,
        0 if says(&PASSES) => Attempt::Waits(heard),
        // The result is the same for every database.
        0 if says(&NOT_MENDED) => Attempt::Refused(heard),
        0 => Attempt::Closed(heard),
        NO_RESPONSE if server.host.starts_with('[') => {
            Attempt::Refused(format!("{heard}; write an IPv6 address without brackets"))
        }
        1 => Attempt::Waits(heard),
        NO_RESPONSE if !says(&NOT_MENDED) => Attempt::Waits(heard),
        _ => Attempt::Refused(heard),
    }
}

/// psql's error without its program name and libpq's questions.
fn shortened(said: &str) -> String {
    let lines = said.split(" | ").filter(|line| !line.starts_with("Is the server running"));
    // A pooler connects to the server only at the first query, so the error may have a line number.
    let own = |line: &'_ str| {
        let bare = ["psql: error: ", "psql:<stdin>:1: "].iter().find_map(|name| line.strip_prefix(name));
        bare.unwrap_or(line).to_owned()
    };
    lines.map(own).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(host: &str, ping: i32, heard: &str) -> &'static str {
        let server = Server::at(host);
        match judge(&server, ping, heard.to_owned()) {
            Attempt::Answers => "answers",
            Attempt::TakesNoOptions => "no options",
            Attempt::Waits(_) => "waits",
            Attempt::Closed(_) => "closed",
            Attempt::Refused(_) => "refused",
        }
    }

    #[test]
    fn what_waiting_may_mend_is_told_from_what_it_does_not() {
        for (ping, heard, expected) in [
            (0, "FATAL:  sorry, too many clients already", "waits"),
            (0, "FATAL:  too many connections for role \"u\"", "waits"),
            (0, "server is not in hot standby mode", "waits"),
            (1, "FATAL:  the database system is starting up", "waits"),
            (1, "FATAL:  das Datenbanksystem startet", "waits"),
            (2, "could not translate host name \"db\" to address: Name or service not known", "waits"),
            (
                2,
                "connection to server on socket \"/x/.s.PGSQL.1\" failed: No such file or directory",
                "waits",
            ),
            (2, "connection to server at \"::1\", port 1 failed: timeout expired", "waits"),
            (0, "FATAL:  unsupported startup parameter: options", "no options"),
            (0, "FATAL:  unsupported startup parameter in options: backupgram.options", "no options"),
            (0, "FATAL:  RDS Proxy currently doesn't support command-line options.", "no options"),
            (0, "FATAL:  permission denied for database \"postgres\"", "closed"),
            (0, "FATAL:  no pg_hba.conf entry for host \"::1\", user \"u\", database \"x\"", "closed"),
            (0, "FATAL:  Rolle »u« existiert nicht", "closed"),
            (0, "FATAL:  password authentication failed for user \"u\"", "refused"),
            (0, "fe_sendauth: no password supplied", "refused"),
            (2, "root certificate file \"/x\" does not exist", "refused"),
            (2, "SSL error: tlsv1 alert unknown ca", "refused"),
            (2, "server does not support SSL, but SSL was required", "refused"),
            (3, "invalid sslmode value: \"x\"", "refused"),
        ] {
            assert_eq!(judged("db", ping, heard), expected, "{heard}");
        }
        let unknown = "could not translate host name \"[::1]\" to address: Name or service not known";
        assert_eq!(judged("[::1]", 2, unknown), "refused");
    }

    #[test]
    fn only_what_libpq_says_itself_is_handed_on() {
        let said = "psql: error: connection to server at \"::1\" failed: Connection refused | Is the server running on \
                    that host and accepting TCP/IP connections? | connection to server at \"db\" failed: x";
        let heard = "connection to server at \"::1\" failed: Connection refused | connection to server at \"db\" failed: x";
        assert_eq!(shortened(said), heard);
    }
}
