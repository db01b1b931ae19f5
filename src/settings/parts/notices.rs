//! Notifications about runs: webhooks and hook programs.

use std::path::PathBuf;
use std::time::Duration;

use crate::settings::environment::Environment;
use crate::settings::reader::Reader;
use crate::settings::secrets::Secret;
use crate::settings::variable::WEBHOOK_FORMATS;
use crate::settings::words::split_words;

/// The payload format of webhooks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WebhookFormat {
    /// The original image's JSON object.
    #[default]
    Json,
    /// Slack's incoming webhooks.
    Slack,
    /// Discord's webhooks.
    Discord,
    /// The workflows of Microsoft Teams.
    Teams,
    /// ntfy.
    Ntfy,
    /// A line of plain text.
    Text,
}

impl WebhookFormat {
    fn of_word(word: &str) -> Self {
        let formats = [Self::Json, Self::Slack, Self::Discord, Self::Teams, Self::Ntfy, Self::Text];
        let mut named = WEBHOOK_FORMATS.iter().zip(formats);
        named.find(|(name, _)| **name == word).map_or(Self::Json, |(_, format)| format)
    }
}

/// The settings of notifications.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    /// Called at the end of a run.
    pub webhook: Option<Secret>,
    /// Called when a run starts.
    pub webhook_pre_backup: Option<Secret>,
    /// Called when a run has succeeded.
    pub webhook_post_backup: Option<Secret>,
    /// Called when a run has failed.
    pub webhook_error: Option<Secret>,
    /// The payload format.
    pub format: WebhookFormat,
    /// Additional options for curl.
    pub curl_options: Vec<String>,
    /// The directory of hook programs.
    pub hooks: PathBuf,
    /// Time limit for a hook program, if any.
    pub hook_limit: Option<Duration>,
    /// A label for messages.
    pub project: String,
}

impl Notices {
    /// The hook settings alone, to report faults in the other settings.
    pub fn hooks_only(environment: &Environment) -> Self {
        let hooks = Reader::resolve(environment, |reader| reader.text("HOOKS_DIR"));
        let limit = Reader::resolve(environment, |reader| reader.limit("HOOK_TIMEOUT"));
        // The default if the value is invalid.
        let hook_limit = limit.unwrap_or(Some(Duration::from_secs(3600)));
        Self { hooks: hooks.map(PathBuf::from).unwrap_or_default(), hook_limit, ..Self::default() }
    }

    /// Reads these settings.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let curl_options = reader.text("WEBHOOK_EXTRA_ARGS").unwrap_or_default();
        let hook_limit = reader.limit("HOOK_TIMEOUT");
        Some(Self {
            webhook: reader.secret("WEBHOOK_URL"),
            webhook_pre_backup: reader.secret("WEBHOOK_PRE_BACKUP_URL"),
            webhook_post_backup: reader.secret("WEBHOOK_POST_BACKUP_URL"),
            webhook_error: reader.secret("WEBHOOK_ERROR_URL"),
            format: WebhookFormat::of_word(reader.word("WEBHOOK_FORMAT")?),
            curl_options: split_words(&curl_options).ok()?,
            hooks: reader.text("HOOKS_DIR")?.into(),
            hook_limit: hook_limit?,
            project: reader.text("PROJECT_NAME").unwrap_or_default(),
        })
    }
}
