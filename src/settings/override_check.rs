//! Checks overrides against the container's own settings.

use super::environment::Environment;
use super::overrides::{Overrides, Refusal};
use super::secrets::shown;
use super::variable::Variable;

impl Environment {
    /// Checks that the overrides do not send the container's bot token or curl credentials, which the API user may not
    /// know, to a server the API user chose.
    ///
    /// # Errors
    /// When they would.
    pub fn check_overrides(&self, overrides: &Overrides) -> Result<(), Refusal> {
        self.check_webhook(overrides)?;
        self.check_telegram(overrides)
    }

    /// The container's options may go to another URL if they hold no credential, or are overridden too.
    fn check_webhook(&self, overrides: &Overrides) -> Result<(), Refusal> {
        const URL: &str = "WEBHOOK_URL";
        const OPTIONS: &str = "WEBHOOK_EXTRA_ARGS";
        let own_url = overrides.get(URL).filter(|url| !url.is_empty());
        let is_new = own_url.is_some_and(|url| !matches!(self.plain(URL), Ok(Some(base)) if base == url));
        let options = self.plain(OPTIONS).ok().flatten().unwrap_or_default();
        let is_secret = Variable::named(OPTIONS).is_some_and(|variable| shown(variable, options) != options);
        match is_new && is_secret && overrides.get(OPTIONS).is_none() {
            false => Ok(()),
            true => Err(Refusal::new(format!(
                "{URL} can only be changed together with an override of {OPTIONS}: otherwise the container's credentials \
                 would be sent there"
            ))),
        }
    }

    fn check_telegram(&self, overrides: &Overrides) -> Result<(), Refusal> {
        const URL: &str = "TELEGRAM_API_URL";
        const TOKEN: &str = "TELEGRAM_BOT_TOKEN";
        let Some(url) = overrides.get(URL) else { return Ok(()) };
        let default = Variable::named(URL).map_or("", |variable| variable.default);
        let base = self.plain(URL).ok().flatten().unwrap_or(default);
        let own_token = overrides.get(TOKEN).is_some_and(|token| !token.is_empty());
        let file = Variable::named(TOKEN).map(Variable::file_twin).unwrap_or_default();
        let shadowed = !matches!(self.plain(&file), Ok(None));
        match url == default || url == base || (own_token && !shadowed) {
            true => Ok(()),
            false => Err(Refusal::new(format!(
                "{URL} can only be changed together with an override of {TOKEN}: otherwise the container's token would be \
                 sent there"
            ))),
        }
    }
}
