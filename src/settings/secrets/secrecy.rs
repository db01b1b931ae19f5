//! Determines which values are secrets, and removes them from the environment of child processes.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use super::curl_options;
use super::secret::Secret;
use super::url::{split_authority, userinfo};
use crate::settings::environment::Environment;
use crate::settings::rule::Rule;
use crate::settings::variable::{VARIABLES, Variable};

/// Minimum length in bytes of a probable secret. Masking shorter ones would hide ordinary words.
const SHORTEST: usize = 6;
/// Minimum length in bytes for a part of a webhook URL to count as a token.
const SHORTEST_PART: usize = 16;

/// Every secret in the settings, and every environment variable of this process that is one by its name, for masking
/// in logs and responses. Unreadable values are skipped, because they cannot have been used.
pub fn secrets(environment: &Environment) -> Vec<Secret> {
    let mut texts = Vec::new();
    for variable in VARIABLES {
        let effective = environment.find(variable).ok().flatten().map(|found| found.text);
        // A value hidden by an override or file is still visible to programs that read only the environment.
        let own = environment.plain(variable.name).ok().flatten().map(String::from);
        for text in effective.into_iter().chain(own) {
            texts.extend(of_setting(variable, &text));
        }
    }
    for (name, value) in environment.variables() {
        let Some(value) = value.to_str() else { continue };
        if is_proxy(name) {
            texts.extend(in_userinfo(value));
        } else if is_foreign_secret(name) && value.len() >= SHORTEST && !value.starts_with('/') {
            texts.push(value.to_owned());
        }
    }
    let shown = shown_names(environment);
    texts.into_iter().filter(|text| !shown.contains(text)).map(Secret::new).collect()
}

/// Names shown everywhere. A password equal to the user name is not secret, and masking it would hide that name in
/// every message.
fn shown_names(environment: &Environment) -> BTreeSet<String> {
    let variables = ["POSTGRES_USER", "POSTGRES_HOST", "POSTGRES_DB"].into_iter().filter_map(Variable::named);
    let texts = variables.filter_map(|variable| Some(environment.find(variable).ok()??.text));
    texts.flat_map(|text| text.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()).collect()
}

/// The secrets in the value of a setting.
fn of_setting(variable: &Variable, text: &str) -> Vec<String> {
    match variable.rule {
        Rule::Url if variable.secret => in_url(text),
        Rule::Url => in_userinfo(text),
        Rule::CurlOptions => {
            let credentials = curl_options::credentials(text).into_iter();
            credentials.filter(|text| text.len() >= SHORTEST).collect()
        }
        _ if variable.secret => vec![text.to_owned()],
        _ => Vec::new(),
    }
}

/// The secrets in a URL: the whole, its userinfo, the part after the host, and pieces of that as long as a token.
fn in_url(url: &str) -> Vec<String> {
    let (_, rest) = split_authority(url);
    let parts = rest.split(['/', '?', '#', '&', '=']).filter(|part| part.len() >= SHORTEST_PART);
    let whole = (rest.len() >= SHORTEST_PART).then_some(rest);
    let texts = [Some(url), whole].into_iter().flatten().chain(parts).map(String::from);
    texts.chain(in_userinfo(url)).collect()
}

/// The userinfo of a URL and the password in it, raw and decoded.
fn in_userinfo(url: &str) -> Vec<String> {
    let Some(userinfo) = userinfo(url) else { return Vec::new() };
    let password = userinfo.split_once(':').map(|(_, password)| password);
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let texts = [Some(userinfo), password].into_iter().flatten();
    texts.flat_map(|text| [text.to_owned(), decoded(text)]).filter(|text| text.len() >= SHORTEST).collect()
}

/// Removes our secrets, and variables that are secret by name, from the environment of a child process.
pub(crate) fn remove_secrets(command: &mut Command) {
    for variable in VARIABLES.iter().filter(|variable| variable.secret || variable.rule.may_hold_secret()) {
        command.env_remove(variable.name);
    }
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| is_foreign_secret(name)) {
        command.env_remove(name);
    }
}

/// Whether a variable other than ours is secret by its name, such as cloud or mail credentials for hooks.
fn is_foreign_secret(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["PASS", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "CREDENTIALS"];
    const ENDS: [&str; 4] = ["PASSWORD", "PASSPHRASE", "SECRET", "TOKEN"];
    // Variables with these endings describe a secret but do not contain it.
    const OF_SECRETS: [&str; 7] = ["FILE", "PATH", "DIR", "ID", "URL", "NAME", "TYPE"];
    let name = name.to_ascii_uppercase();
    let is_ours = VARIABLES.iter().any(|variable| variable.name == name || variable.file_twin() == name);
    let words: Vec<&str> = name.split('_').collect();
    let is_secret = |word: &&str| WORDS.contains(word) || ENDS.iter().any(|end| word.ends_with(end));
    !is_ours && words.iter().any(is_secret) && !words.last().is_some_and(|last| OF_SECRETS.contains(last))
}

fn is_proxy(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("_proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(variables: &[(&str, &str)]) -> Vec<String> {
        let mut known: Vec<String> =
            secrets(&Environment::of(variables)).iter().map(|secret| secret.expose().to_owned()).collect();
        known.sort();
        known.dedup();
        known
    }

    #[test]
    fn what_is_secret_in_a_setting_is_known_in_all_its_parts() {
        assert_eq!(known(&[("POSTGRES_PASSWORD", "x"), ("POSTGRES_DB", "app")]), ["x"]);
        let url = "https://u:p%40ssword@hooks.example.org/services/T0KEN-0123456789ab?x=short";
        let path = "/services/T0KEN-0123456789ab?x=short";
        let expected =
            ["T0KEN-0123456789ab", "p%40ssword", "p@ssword", "u:p%40ssword", "u:p@ssword", path, url];
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(known(&[("WEBHOOK_URL", url)]), expected);
        assert_eq!(known(&[("TELEGRAM_API_URL", "http://u:password@h/")]), ["password", "u:password"]);
        assert_eq!(
            known(&[("WEBHOOK_EXTRA_ARGS", "-m 5 -H 'X-Key: 0123456' -u me:password")]),
            ["0123456", "me:password", "password"]
        );
    }

    #[test]
    fn what_is_a_secret_by_its_name_is_one() {
        let environment = [
            ("AWS_SECRET_ACCESS_KEY", "aws-secret"),
            ("RCLONE_CONFIG_S3_PASS", "rclone-pass"),
            ("MYSQLPASSWORD", "mysql-password"),
            ("SMTP_PASSWORD", "short"),
            ("X_TOKEN_FILE", "/run/secrets/x"),
            ("API_KEY", "/run/secrets/x"),
            ("AWS_ACCESS_KEY_ID", "no-secret"),
            ("KEYBOARD", "no-secret"),
            ("https_proxy", "http://me:pr0xy-pass@proxy:3128"),
        ];
        let expected = ["aws-secret", "me:pr0xy-pass", "mysql-password", "pr0xy-pass", "rclone-pass"];
        assert_eq!(known(&environment), expected);
    }
}
