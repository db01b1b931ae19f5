//! How curl takes its configuration, which it gets on a pipe so that no secret stands in its arguments, and what it
//! inherits.

use std::env;
use std::process::Command;

/// What curl, or the shell that starts it, has of our environment: where programs and libraries are, how names are
/// resolved, whom to trust, the proxies, the language. Whoever talks to the network needs nothing else that we know.
const INHERITED: [&str; 30] = [
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "CURL_CA_BUNDLE",
    "CURL_SSL_BACKEND",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "HOSTALIASES",
    "KRB5_CONFIG",
    "KRB5CCNAME",
];

/// Keeps a command's environment to that.
pub fn confine(command: &mut Command) {
    command.env_clear();
    let inherited = INHERITED.iter().filter_map(|name| Some((name, env::var_os(name)?)));
    command.envs(inherited);
}

/// A string as curl's configuration takes it.
pub fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{}\"", escaped.replace('\t', "\\t"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn what_means_something_to_curl_is_escaped() {
        assert_eq!(quote("a\"b\\c\nd\te\r"), r#""a\"b\\c\nd\te\r""#);
    }
}
