//! Masks secrets in settings that are shown.

use super::curl_options;
use super::redactor::MASK;
use super::url::{masked_url, userinfo};
use crate::settings::rule::Rule;
use crate::settings::variable::Variable;

/// The value of a setting as it may be shown.
pub fn shown(variable: &Variable, text: &str) -> String {
    match variable.rule {
        Rule::CurlOptions => curl_options::masked(text),
        Rule::Url => masked_url(text),
        _ => text.to_owned(),
    }
}

/// Whether a value contains a mask where [`shown`] puts one, because a client sends back what it was shown.
pub fn has_mask(variable: &Variable, text: &str) -> bool {
    match variable.rule {
        Rule::CurlOptions => curl_options::credentials(text).iter().any(|text| text == MASK),
        Rule::Url => userinfo(text) == Some(MASK),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_who_asks() {
        assert_eq!(masked_url("http://u:p@h/@x"), "http://***@h/@x");
        assert_eq!(masked_url("http://a@b@h/"), "http://***@h/");
        for url in ["http://h/u:p@x", "https://api.telegram.org", "http://@h/"] {
            assert_eq!(masked_url(url), url);
        }
        let variable = Variable::named("TELEGRAM_API_URL").unwrap();
        assert!(has_mask(variable, "http://***@h/") && !has_mask(variable, "http://h/***"));
    }
}
