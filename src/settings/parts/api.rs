//! The settings of the daemon: its scheduler and its HTTP API.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::formats::schedule::Schedule;
use crate::settings::reader::Reader;
use crate::settings::secrets::Secret;

/// The settings of go-cron.
#[derive(Debug, Clone)]
pub struct SchedulerSettings {
    /// When to back up.
    pub schedule: Schedule,
    /// Whether to back up at start as well.
    pub on_start: bool,
    /// Port of go-cron's health endpoint; 0 for none.
    pub health_port: u16,
    /// Path of another go-cron than the one beside this program.
    pub program: Option<PathBuf>,
    /// The backup directory.
    pub directory: PathBuf,
    /// Directory of `backup.sh`, `restore.sh` and `verify.sh`; `None` for the commands beside this program.
    pub scripts: Option<PathBuf>,
}

impl SchedulerSettings {
    /// Reads these settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let schedule = reader.text("SCHEDULE");
        let on_start = reader.flag("BACKUP_ON_START");
        let health_port = reader.port("HEALTHCHECK_PORT");
        let program = reader.text("GOCRON_BIN").map(PathBuf::from);
        let directory = reader.text("BACKUP_DIR").map(PathBuf::from);
        let scripts = reader.text("SCRIPTS_DIR").map(PathBuf::from);
        Some(Self {
            schedule: Schedule::parse(&schedule?).ok()?,
            on_start: on_start?,
            health_port: health_port?,
            program,
            directory: directory?,
            scripts,
        })
    }
}

/// The settings of the HTTP API.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Token for full access.
    pub token: Secret,
    /// Token for read-only status requests.
    pub read_token: Option<Secret>,
}

impl ApiSettings {
    /// Reads these settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let address = reader.address("REST_API_BIND");
        let port = reader.port("REST_API_PORT");
        let token = reader.secret("REST_API_TOKEN");
        if token.is_none() {
            reader.missing("REST_API_TOKEN", "is not set: the API does not start without a token");
        }
        let read_token = reader.secret("REST_API_READ_TOKEN");
        if token.is_some() && token == read_token {
            reader.fault("REST_API_READ_TOKEN", "must differ from REST_API_TOKEN, which gives full access");
        }
        Some(Self { listen: SocketAddr::new(address?, port?), token: token?, read_token })
    }

    /// Reads these settings if the API is enabled; otherwise they are not checked.
    pub fn read_if_enabled(reader: &mut Reader) -> Option<Option<Self>> {
        match reader.flag("REST_API_ENABLE")? {
            true => Self::read(reader).map(Some),
            false => Some(None),
        }
    }
}
