//! What there is to say of settings that are taken all the same.

use jiff::tz::TimeZone;

use super::{ApiSettings, Environment, Notices, Reader, Secret, Subject};
use crate::catalog::Slot;
use crate::retention::Policy;
use crate::telegram;

/// Below this many bytes a token is short.
const SHORT_TOKEN: usize = 32;

/// All of it, a line each.
pub fn remarks(environment: &Environment) -> Vec<String> {
    let mut remarks = Vec::new();
    let api = Reader::resolve(environment, ApiSettings::read_if_enabled).ok().flatten();
    if let Some(api) = api {
        let tokens = [("REST_API_TOKEN", Some(api.token)), ("REST_API_READ_TOKEN", api.read_token)];
        let is_short = |token: Option<Secret>| token.is_some_and(|token| token.expose().len() < SHORT_TOKEN);
        let short = tokens.into_iter().filter_map(|(name, token)| is_short(token).then_some(name));
        remarks.extend(short.map(|name| {
            format!("{name} is shorter than {SHORT_TOKEN} bytes; `openssl rand -hex 32` makes a good one")
        }));
    }
    if let Ok(subject) = Reader::resolve(environment, Subject::read) {
        let of_options = subject.options.remarks.iter();
        remarks.extend(of_options.map(|remark| format!("POSTGRES_EXTRA_OPTS {remark}")));
    }
    remarks.extend(environment.unknown_overrides().map(|name| {
        format!(".api-overrides.env sets {name}, which this release does not know; the line is kept")
    }));
    let unlimited = Reader::resolve(environment, |reader| {
        let is_unlimited = |slot: &Slot| reader.keep(Policy::variable(*slot)) == Some(None);
        Some(Slot::ALL.into_iter().filter(is_unlimited).collect::<Vec<_>>())
    });
    remarks.extend(
        unlimited
            .unwrap_or_default()
            .into_iter()
            .map(|slot| format!("{} is empty: backups in {slot} are kept forever", Policy::variable(slot))),
    );
    remarks.extend(remark_on_old_webhook(environment));
    let of_telegram = Reader::resolve(environment, |reader| Some(telegram::remarks(reader)));
    remarks.extend(of_telegram.unwrap_or_default().into_iter().map(String::from));
    remarks
}

/// The original image sends webhooks by a hook of its own, which people have kept beside theirs.
fn remark_on_old_webhook(environment: &Environment) -> Option<String> {
    const NAME: &str = "00-webhook";
    let notices = Reader::resolve(environment, Notices::read).ok()?;
    let urls =
        [&notices.webhook, &notices.webhook_pre_backup, &notices.webhook_post_backup, &notices.webhook_error];
    let is_doubled = urls.iter().any(|url| url.is_some()) && notices.hooks.join(NAME).exists();
    is_doubled.then(|| format!("HOOKS_DIR has {NAME}, which calls every webhook a second time: remove it"))
}

/// What there is to say of the time zone, which the system's library takes from the process' own environment.
pub fn remark_on_time_zone() -> Option<&'static str> {
    let is_set = std::env::var_os("TZ").is_some_and(|name| !name.is_empty());
    (is_set && TimeZone::system().is_unknown()).then_some("TZ is not a known time zone, so UTC is used")
}
