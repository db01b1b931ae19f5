//! Configuration syntax and environment for curl. curl reads its configuration from a pipe so that no secret appears
//! in its arguments.

use std::env;
use std::process::Command;

/// Environment variables passed to curl, or to the shell that starts it: search paths, name resolution, trust stores,
/// proxies, locale. A network client needs nothing else from our environment.
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

/// Clears a command's environment except for `INHERITED`.
pub fn confine(command: &mut Command) {
    command.env_clear();
    let inherited = INHERITED.iter().filter_map(|name| Some((name, env::var_os(name)?)));
    command.envs(inherited);
}

/// Quotes a string for curl's configuration file.
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
