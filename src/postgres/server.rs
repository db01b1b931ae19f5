//! Where the server is and how to log in.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::catalog::DatabaseName;
use crate::settings::{Reader, Secret, remove_secrets};

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
    /// Reads the part of the settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let host = reader.text("POSTGRES_HOST");
        let (host, port) = match host {
            Some(host) => (Some(host), reader.server_port("POSTGRES_PORT")),
            None => linked(reader),
        };
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
        })
    }

    /// A command of PostgreSQL that talks to this server. All of it goes by the environment: the password
    /// must not be seen in the process list, and a database's name in an argument could be taken for a
    /// connection string.
    pub fn command(&self, program: &str, database: &DatabaseName) -> Command {
        let mut command = Command::new(program);
        command
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGDATABASE", database.as_str())
            .env("PGCONNECT_TIMEOUT", self.connect_timeout.max(2).to_string())
            .env("PGAPPNAME", "backupgram")
            .env_remove("PGPASSWORD")
            .env_remove("PGPASSFILE")
            .env_remove("PGSERVICE")
            .env_remove("PGHOSTADDR");
        match &self.login {
            Login::Password(password) => command.env("PGPASSWORD", password.expose()),
            Login::PasswordFile(path) => command.env("PGPASSFILE", path),
            Login::None => &mut command,
        };
        // pg_dump takes such a limit of the role or the database away, but not before its first statement.
        if env::var_os("PGOPTIONS").is_none() {
            command.env("PGOPTIONS", "-c statement_timeout=0");
        }
        // Nor do PostgreSQL's programs see our other secrets.
        remove_secrets(&mut command);
        command
    }

    /// Where the server is, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The server of a container link; its port has a variable of its own.
fn linked(reader: &mut Reader) -> (Option<String>, Option<u16>) {
    let host = reader.text("POSTGRES_PORT_5432_TCP_ADDR");
    let port = reader.server_port("POSTGRES_PORT_5432_TCP_PORT");
    (host, port.or_else(|| reader.server_port("POSTGRES_PORT")))
}
