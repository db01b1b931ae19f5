//! Where the server is and how to log in.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::settings::{Environment, Reader, Secret, remove_secrets};
use crate::store::catalog::DatabaseName;

/// A server and a login.
#[derive(Debug, Clone)]
pub struct Server {
    /// Host name, address, or the directory of a Unix socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role to log in as.
    pub user: String,
    /// How to prove it.
    pub login: Login,
    /// Seconds to wait for the server to answer.
    pub connect_timeout: u32,
    /// Whether it takes options in the startup packet (`PGOPTIONS`), as PostgreSQL does and many poolers do not. Where it
    /// does not, sessions are set up by SET.
    pub takes_options: bool,
    /// Whether it is a server of our own, for which libpq's variables in our environment are not meant.
    pub is_private: bool,
}

/// What our sessions are called in `pg_stat_activity`, unless they are signed otherwise.
pub(super) const APPLICATION: &str = "backupgram";

/// When a connection is given up whose other end does not answer any more: after 60 s without a word it is asked, every 10 s,
/// six times; what was sent and not taken counts for 120 s (in ms). There are no variables of libpq for these.
const KEEPALIVES: &str =
    "keepalives=1 keepalives_idle=60 keepalives_interval=10 keepalives_count=6 tcp_user_timeout=120000";

/// A setting of a session: its name and value.
pub type Setting = (&'static str, &'static str);

/// Settings as a value of `PGOPTIONS`.
fn as_options(settings: &[Setting]) -> String {
    settings.iter().map(|(name, value)| format!("-c {name}={value}")).collect::<Vec<_>>().join(" ")
}

/// Settings as SQL on one line, without an end of line: the numbers of the lines that follow stay right.
fn as_sql(settings: &[Setting]) -> String {
    settings.iter().map(|(name, value)| format!("SET {name} = {value}; ")).collect()
}

/// Where the password comes from.
#[derive(Debug, Clone)]
pub enum Login {
    /// The settings.
    Password(Secret),
    /// A pgpass file.
    PasswordFile(PathBuf),
    /// Nowhere: the server asks for none.
    None,
}

impl Server {
    #[cfg(test)]
    pub(super) fn at(host: &str) -> Self {
        Self {
            host: host.into(),
            port: 1,
            user: "u".into(),
            login: Login::None,
            connect_timeout: 1,
            takes_options: true,
            is_private: false,
        }
    }

    /// Reads the part of the settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let (host, port) = place(reader);
        if host.is_none() {
            reader.missing("POSTGRES_HOST", "is not set: name the server to back up");
        }
        let user = reader.text("POSTGRES_USER");
        if user.is_none() {
            reader.missing("POSTGRES_USER", "is not set: name the role to log in as");
        }
        let password = reader.secret("POSTGRES_PASSWORD").map(Login::Password);
        let file = reader.text("POSTGRES_PASSFILE_STORE").map(|path| Login::PasswordFile(path.into()));
        let connect_timeout = reader.whole("POSTGRES_CONNECT_TIMEOUT");
        Some(Self {
            host: host?,
            port: port?,
            user: user?,
            login: password.or(file).unwrap_or(Login::None),
            connect_timeout: connect_timeout?,
            takes_options: true,
            is_private: false,
        })
    }

    /// Where the server of the settings is, as they have it, by which records name it; nothing where they do not say.
    pub fn address_in(environment: &Environment) -> Option<String> {
        let address = Reader::resolve(environment, |reader| {
            let (host, port) = place(reader);
            Some(format!("{}:{}", host?, port?))
        });
        address.ok()
    }

    /// A command of PostgreSQL that talks to this server. What it needs goes by the environment, as the password must not be
    /// seen in the process list. The database is named in a connection string, too, with what has no variable; there no
    /// name is taken for a connection string of its own.
    pub fn command(&self, program: &str, database: &DatabaseName) -> Command {
        let mut command = self.bare_command(program, database);
        command.arg(format!("--dbname={} {KEEPALIVES}", named(database)));
        command
    }

    /// The same for a program that takes no connection string.
    pub fn bare_command(&self, program: &str, database: &DatabaseName) -> Command {
        let mut command = Command::new(program);
        // What is set below is all that PostgreSQL's programs see of our secrets.
        remove_secrets(&mut command);
        if self.is_private {
            let variables = env::vars_os().map(|(name, _)| name);
            variables.filter(|name| name.as_encoded_bytes().starts_with(b"PG")).for_each(|name| {
                command.env_remove(name);
            });
        }
        command
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGDATABASE", database.as_str())
            .env("PGCONNECT_TIMEOUT", self.connect_timeout.max(2).to_string())
            .env("PGAPPNAME", APPLICATION)
            .env_remove("PGPASSWORD")
            .env_remove("PGPASSFILE")
            .env_remove("PGSERVICE")
            .env_remove("PGHOSTADDR");
        match &self.login {
            Login::Password(password) => command.env("PGPASSWORD", password.expose()),
            Login::PasswordFile(path) => command.env("PGPASSFILE", path),
            Login::None => &mut command,
        };
        if !self.takes_options {
            command.env_remove("PGOPTIONS");
        } else if self.is_private || env::var_os("PGOPTIONS").is_none() {
            // pg_dump takes such a limit of the role or the database away, but not before its first statement.
            command.env("PGOPTIONS", as_options(&[("statement_timeout", "0")]));
        }
        command
    }

    /// Has the sessions of a command begin with these settings. Answers the SQL that does it where the server takes no
    /// options: it must be the first that the command is given.
    pub fn set_up(&self, command: &mut Command, settings: &[Setting]) -> String {
        match self.takes_options {
            true => {
                command.env("PGOPTIONS", as_options(settings));
                String::new()
            }
            false => as_sql(settings),
        }
    }

    /// Where the server is, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// A database's name where it could be taken for a connection string.
pub fn named(database: &DatabaseName) -> String {
    format!("dbname='{}'", database.as_str().replace('\\', r"\\").replace('\'', r"\'"))
}

/// Host and port.
fn place(reader: &mut Reader) -> (Option<String>, Option<u16>) {
    match reader.text("POSTGRES_HOST") {
        Some(host) => (Some(host), reader.server_port("POSTGRES_PORT")),
        None => linked(reader),
    }
}

/// The server of a container link; its port has a variable of its own.
fn linked(reader: &mut Reader) -> (Option<String>, Option<u16>) {
    let host = reader.text("POSTGRES_PORT_5432_TCP_ADDR");
    let port = reader.server_port("POSTGRES_PORT_5432_TCP_PORT");
    (host, port.or_else(|| reader.server_port("POSTGRES_PORT")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_set_up_by_options_or_by_sql_on_one_line() {
        let mut server = Server::at("h");
        let settings = [("statement_timeout", "0"), ("synchronous_commit", "off")];
        let option = |command: &Command| {
            command
                .get_envs()
                .find(|(name, _)| *name == "PGOPTIONS")
                .map(|(_, value)| value.map(ToOwned::to_owned))
        };
        let postgres = DatabaseName::maintenance();
        let mut command = server.command("psql", &postgres);
        assert_eq!(server.set_up(&mut command, &settings), "");
        let expected = "-c statement_timeout=0 -c synchronous_commit=off";
        assert_eq!(option(&command), Some(Some(expected.into())));
        server.takes_options = false;
        let mut command = server.command("psql", &postgres);
        let sql = "SET statement_timeout = 0; SET synchronous_commit = off; ";
        assert_eq!(server.set_up(&mut command, &settings), sql);
        assert_eq!(option(&command), Some(None), "what the environment has is taken away");
    }
}
