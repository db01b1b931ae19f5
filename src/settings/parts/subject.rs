//! The settings of what is dumped, and how.

use crate::settings::dump_options::{DumpFormat, DumpOptions};
use crate::settings::reader::Reader;
use crate::store::catalog::{DatabaseName, Scope};

/// What to dump, and how.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The databases.
    pub databases: Databases,
    /// Whether roles and tablespaces are dumped as well.
    pub globals: bool,
    /// Options for pg_dump.
    pub options: DumpOptions,
    /// Patterns of excluded tables.
    pub excluded_tables: Vec<String>,
}

/// Which databases to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Databases {
    /// The named ones.
    Named(Vec<DatabaseName>),
    /// The whole server in one dump.
    Cluster,
    /// All databases on the server, with exceptions.
    Discovered {
        /// Excluded databases.
        except: Vec<DatabaseName>,
    },
}

impl Databases {
    /// The database names known without the server; those in `only` if there are any.
    pub fn names(&self, only: &[DatabaseName]) -> Vec<String> {
        let names = match (self, only) {
            (Self::Named(names), []) => names,
            (Self::Cluster, []) => return vec![Scope::Cluster.name().into()],
            _ => only,
        };
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }
}

impl Subject {
    /// Whether a run of this database may be requested, as far as that is known without the server.
    pub fn may_include(&self, name: &DatabaseName) -> bool {
        let is = |scope| *name == DatabaseName::of_scope(scope);
        match &self.databases {
            _ if self.globals && is(Scope::Globals) => true,
            Databases::Named(names) => names.contains(name),
            Databases::Cluster => is(Scope::Cluster),
            Databases::Discovered { except } => !except.contains(name),
        }
    }

    /// Reads these settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let named = names(reader, "POSTGRES_DB");
        let except = names(reader, "POSTGRES_DB_EXCLUDE");
        let discover = reader.flag("POSTGRES_DB_AUTODISCOVER")?;
        let cluster = reader.flag("POSTGRES_CLUSTER")?;
        let globals = reader.flag("BACKUP_GLOBALS")?;
        if !discover && !cluster && named.is_empty() {
            reader.missing(
                "POSTGRES_DB",
                "is not set: name the databases to back up, or set POSTGRES_DB_AUTODISCOVER=TRUE",
            );
        }
        let options = reader.text("POSTGRES_EXTRA_OPTS").unwrap_or_default();
        let excluded_tables = reader.text("POSTGRES_EXCLUDE_TABLES").unwrap_or_default();
        let patterns = excluded_tables.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
        let excluded_tables: Vec<String> = patterns.map(String::from).collect();
        let parsed =
            if cluster { DumpOptions::parse_for_server(&options) } else { DumpOptions::parse(&options) };
        let options = parsed.map_err(|error| reader.fault("POSTGRES_EXTRA_OPTS", error.to_string())).ok()?;
        if cluster && options.format != DumpFormat::Plain {
            reader.fault(
                "POSTGRES_EXTRA_OPTS",
                "asks for a format that POSTGRES_CLUSTER=TRUE does not support",
            );
        }
        if cluster && !excluded_tables.is_empty() {
            reader.fault(
                "POSTGRES_EXCLUDE_TABLES",
                "cannot be used with POSTGRES_CLUSTER=TRUE: pg_dumpall cannot leave out tables",
            );
        }
        Some(Self {
            databases: match (cluster, discover) {
                (true, _) => Databases::Cluster,
                (false, true) => Databases::Discovered { except },
                (false, false) => Databases::Named(named),
            },
            // A dump of the whole server includes them.
            globals: globals && !cluster,
            options,
            excluded_tables,
        })
    }
}

fn names(reader: &mut Reader, variable: &str) -> Vec<DatabaseName> {
    let text = reader.text(variable).unwrap_or_default();
    DatabaseName::parse_list(&text).unwrap_or_default()
}
