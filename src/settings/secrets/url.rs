//! Who asks, in a URL: its userinfo may be a secret.

use super::redactor::MASK;

/// Who asks, as a URL has it.
pub(super) fn userinfo(url: &str) -> Option<&str> {
    let userinfo = split_authority(url).0.rsplit_once('@').map(|(userinfo, _)| userinfo);
    userinfo.filter(|userinfo| !userinfo.is_empty())
}

/// The authority of a URL, without its scheme, and what follows.
pub(super) fn split_authority(url: &str) -> (&str, &str) {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.split_at(after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len()))
}

/// A URL that may be shown: with a mask for its userinfo.
pub(super) fn masked_url(url: &str) -> String {
    match userinfo(url) {
        // The last `@` of the authority, which begins before any other.
        Some(userinfo) => url.replacen(&format!("{userinfo}@"), &format!("{MASK}@"), 1),
        None => url.to_owned(),
    }
}
