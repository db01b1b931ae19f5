//! Settings: raw in [`Environment`], validated and typed in the parts below. Each part is resolved separately, so that
//! listing backups works without a configured server.

mod dump_options;
mod effective;
mod environment;
mod override_check;
pub mod overrides;
mod parts;
mod reader;
mod rule;
mod secrets;
mod variable;
mod words;

pub use dump_options::{DumpFormat, DumpOptions, OptionError};
pub use effective::effective_environment;
pub use environment::{Environment, Found, Source};
pub use parts::{ApiSettings, Databases, Notices, SchedulerSettings, Storage, Subject, WebhookFormat};
pub use reader::{Fault, Faults, Reader};
pub use rule::Rule;
pub use secrets::{Redactor, Secret, has_mask, secrets, shown};
pub(crate) use secrets::{config_lines, remove_api_settings, remove_secrets, without_value};
pub use variable::{Access, VARIABLES, Variable};
