//! Who may ask: whoever knows the one token.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use super::message::Headers;
use crate::settings::Secret;

/// The token, as its digest. Digests are of one length, so comparing them in constant time tells nothing,
/// not even how long the token is.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl Token {
    /// Takes the token from the settings.
    pub fn new(token: &Secret) -> Self {
        Self { digest: Sha256::digest(token.expose()).into() }
    }

    /// Sees that a request with these header fields carries the token.
    ///
    /// # Errors
    /// 401 when it does not.
    pub fn check(&self, headers: &Headers) -> Result<(), ApiError> {
        let given = headers.get("Authorization").and_then(bearer);
        let digest = given.map(|token| <[u8; 32]>::from(Sha256::digest(token)));
        match digest.is_some_and(|digest| digest.ct_eq(&self.digest).into()) {
            true => Ok(()),
            false => Err(ApiError::unauthorized()),
        }
    }
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

    fn status(values: &[&str]) -> u16 {
        let headers = values.iter().map(|value| ("authorization".to_owned(), (*value).to_owned())).collect();
        Token::new(&Secret::new("right")).check(&Headers(headers)).map_or_else(|error| error.status, |()| 200)
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
