//! Settings: raw in [`Environment`], resolved and typed in the parts below. Each part is resolved on its
//! own, so that listing backups does not fail for want of a server's name.

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
pub(crate) use secrets::{config_lines, remove_secrets, without_value};
pub use variable::{Access, VARIABLES, Variable};
