//! Secrets: which settings are or contain one, how they are shown, and how they are removed from output.

mod children;
pub(super) mod curl_options;
mod masking;
mod redactor;
mod secrecy;
mod secret;
mod url;

pub(crate) use children::remove_api_settings;
pub(crate) use curl_options::{config_lines, without_value};
pub use masking::{has_mask, shown};
pub use redactor::Redactor;
pub(crate) use secrecy::remove_secrets;
pub use secrecy::secrets;
pub use secret::Secret;
