//! Bearer token check. One token opens everything, an optional second one what only reads.

pub(super) mod limiter;

pub use limiter::AuthLimiter;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::gate::{ApiError, Headers};
use crate::settings::Secret;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Reading how everything is; no backups' contents.
    Read,
    /// Everything.
    Full,
}

/// The tokens, as SHA-256 digests. These are of one length, so that comparing them in constant time reveals nothing, not
/// even a token's length.
#[derive(Clone)]
pub struct Token {
    full: [u8; 32],
    read: Option<[u8; 32]>,
}

impl Token {
    /// Hashes the tokens of the settings.
    pub fn new(full: &Secret, read: Option<&Secret>) -> Self {
        let digest = |token: &Secret| Sha256::digest(token.expose()).into();
        Self { full: digest(full), read: read.map(digest) }
    }

    /// Returns what the token in these header fields opens. It is always compared with both.
    ///
    /// # Errors
    /// 401 without a valid token.
    pub fn check(&self, headers: &Headers) -> Result<Rights, ApiError> {
        let given = headers.get("Authorization").and_then(bearer).ok_or_else(unauthorized)?;
        let given: [u8; 32] = Sha256::digest(given).into();
        let is_full = given.ct_eq(&self.full);
        let is_read =
            given.ct_eq(&self.read.unwrap_or_default()) & Choice::from(u8::from(self.read.is_some()));
        match (bool::from(is_full), bool::from(is_read)) {
            (true, _) => Ok(Rights::Full),
            (false, true) => Ok(Rights::Read),
            (false, false) => Err(unauthorized()),
        }
    }
}

/// 401, the same for every reason and every path.
fn unauthorized() -> ApiError {
    ApiError::new(401, "a valid bearer token is required").with_header("WWW-Authenticate", "Bearer")
}

/// 403: the token for reading does not open this, whether it exists or not.
pub fn read_only() -> ApiError {
    ApiError::new(403, "REST_API_READ_TOKEN gives no access to this: use REST_API_TOKEN")
}

/// The token in `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(token: &Token, values: &[&str]) -> Result<Rights, ApiError> {
        let headers = values.iter().map(|value| ("authorization".to_owned(), (*value).to_owned())).collect();
        token.check(&Headers(headers))
    }

    fn status(values: &[&str]) -> u16 {
        let token = Token::new(&Secret::new("right"), None);
        check(&token, values).map_or_else(|error| error.status, |_| 200)
    }

    #[test]
    fn each_token_opens_what_it_is_for() {
        let token = Token::new(&Secret::new("right"), Some(&Secret::new("reads")));
        let rights = |value| check(&token, &[value]).ok();
        assert_eq!(rights("Bearer right"), Some(Rights::Full));
        assert_eq!(rights("Bearer reads"), Some(Rights::Read));
        assert_eq!(rights("Bearer wrong"), None);
        let one = Token::new(&Secret::new("right"), None);
        assert_eq!(check(&one, &["Bearer reads"]).ok(), None);
    }

    #[test]
    fn only_the_right_token_passes() {
        for value in ["Bearer right", "bearer right", "BEARER  right "] {
            assert_eq!(status(&[value]), 200, "{value:?}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            "Bearer righ",
            "Bearer rightt",
            "Basic right",
            "right",
            "Bearer right x",
        ] {
            assert_eq!(status(&[value]), 401, "{value:?}");
        }
        assert_eq!(status(&[]), 401);
        assert_eq!(status(&["Bearer right", "Bearer right"]), 401);
    }
}
