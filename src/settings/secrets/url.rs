//! The userinfo part of a URL, which may be a secret.

use super::redactor::MASK;

/// The userinfo of a URL, if there is any.
pub(super) fn userinfo(url: &str) -> Option<&str> {
    let userinfo = split_authority(url).0.rsplit_once('@').map(|(userinfo, _)| userinfo);
    userinfo.filter(|userinfo| !userinfo.is_empty())
}

/// The authority of a URL without its scheme, and the rest.
pub(super) fn split_authority(url: &str) -> (&str, &str) {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.split_at(after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len()))
}

/// A URL with its userinfo masked.
pub(super) fn masked_url(url: &str) -> String {
    match userinfo(url) {
        // Replaces the userinfo up to the last `@` of the authority, which comes before any other text like it.
        Some(userinfo) => url.replacen(&format!("{userinfo}@"), &format!("{MASK}@"), 1),
        None => url.to_owned(),
    }
}
