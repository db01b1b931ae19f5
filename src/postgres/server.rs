//! The address and login of the server.

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
    /// The password, if any.
    pub login: Login,
    /// Connect timeout in seconds.
    pub connect_timeout: u32,
    /// Whether it accepts startup options (`PGOPTIONS`), as PostgreSQL does and many poolers do not. If not, sessions
    /// are set up by SET.
    pub takes_options: bool,
    /// Whether it is a server of our own, to which libpq variables in our environment do not apply.
    pub is_private: bool,
}

/// Default application name of our sessions in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "backupgram";

/// When to give up a connection whose peer no longer answers: after 60 s idle it is probed every 10 s, six times;
/// unacknowledged data is given 120 s (in ms). libpq has no variables for these.
const KEEPALIVES: &str =
    "keepalives=1 keepalives_idle=60 keepalives_interval=10 keepalives_count=6 tcp_user_timeout=120000";

/// A session setting: name and value.
pub type Setting = (&'static str, &'static str);

/// Settings as a value of `PGOPTIONS`.
fn as_options(settings: &[Setting]) -> String {
    settings.iter().map(|(name, value)| format!("-c {name}={value}")).collect::<Vec<_>>().join(" ")
}

/// Settings as SQL without a line end, so that line numbers in errors stay correct.
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
    /// No password is needed.
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

    /// Reads these settings.
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

    /// Host and port of the server in the settings, as used in records; `None` if not set.
    pub fn address_in(environment: &Environment) -> Option<String> {
        let address = Reader::resolve(environment, |reader| {
            let (host, port) = place(reader);
            Some(format!("{}:{}", host?, port?))
        });
        address.ok()
    }

    /// A PostgreSQL program that connects to this server. Login data is passed in the environment, because the process
    /// list would show it. The database is also named in a connection string, with the options that have no variable;
    /// quoted there, its name cannot be taken for a connection string.
    pub fn command(&self, program: &str, database: &DatabaseName) -> Command {
        let mut command = self.bare_command(program, database);
        command.arg(format!("--dbname={} {KEEPALIVES}", named(database)));
        command
    }

    /// The same for a program that accepts no connection string.
    pub fn bare_command(&self, program: &str, database: &DatabaseName) -> Command {
        let mut command = Command::new(program);
        // PostgreSQL programs get only the secrets set below.
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
            // pg_dump lifts a limit set for the role or database itself, but only after its first statement.
            command.env("PGOPTIONS", as_options(&[("statement_timeout", "0")]));
        }
        command
    }

    /// Makes the sessions of a command start with these settings. If the server accepts no options, returns SQL that
    /// must be the first input of the command.
    pub fn set_up(&self, command: &mut Command, settings: &[Setting]) -> String {
        match self.takes_options {
            true => {
                command.env("PGOPTIONS", as_options(settings));
                String::new()
            }
            false => as_sql(settings),
        }
    }

    /// The address of the server, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// A database name as a connection string, where a plain name could be taken for one.
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

/// The server of a container link, whose port has its own variable.
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
