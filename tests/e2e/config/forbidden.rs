//! Whatever is not on the list of keys stays as whoever starts the container set it.

use backupgram::settings::{Access, VARIABLES, Variable};
use serde_json::{Value, json};

use crate::harness::*;

/// What programs read from their environment, and must never come from the API.
const FOREIGN: &[&str] = &[
    "PATH",
    "HOME",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELL",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PYTHONPATH",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICEFILE",
    "PGOPTIONS",
    "PGSSLMODE",
    "CURL_HOME",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "GNUPGHOME",
    "TMPDIR",
    "RUST_LOG",
    "BACKUPGRAM_LOG",
    "BACKUPGRAM_TRIGGER",
    "BACKUP_FILES",
    "REST_API",
    "REST_API_",
    "REST_API_NEW",
    "POSTGRES_INITDB_ARGS",
    "schedule",
    "Schedule",
    " SCHEDULE",
    "SCHEDULE ",
    "SCHEDULE\n",
    "SCHEDULE=x",
    "SCHEDULE_FILE",
    "",
    "*",
    "é",
    "__proto__",
    "a b",
    "x'; touch /tmp/x; '",
    "TELEGRAM_BOT_TOKEN_FILE_FILE",
];

/// The documented settings that only whoever starts the container may choose.
const FIXED: &[&str] = &[
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "POSTGRES_PORT_5432_TCP_ADDR",
    "POSTGRES_PORT_5432_TCP_PORT",
    "POSTGRES_USER",
    "POSTGRES_USER_FILE",
    "POSTGRES_PASSWORD",
    "POSTGRES_PASSWORD_FILE",
    "POSTGRES_PASSFILE_STORE",
    "POSTGRES_DB_FILE",
    "POSTGRES_CLUSTER",
    "POSTGRES_CONNECT_TIMEOUT",
    "TZ",
    "BACKUP_ON_START",
    "VALIDATE_ON_START",
    "BACKUP_DIR",
    "BACKUP_SUFFIX",
    "BACKUP_LATEST_TYPE",
    "BACKUP_LOCK_WAIT",
    "BACKUP_ENCRYPTION_KEY",
    "BACKUP_ENCRYPTION_KEY_FILE",
    "HEALTHCHECK_PORT",
    "REST_API_ENABLE",
    "REST_API_PORT",
    "REST_API_TOKEN",
    "REST_API_TOKEN_FILE",
    "REST_API_BIND",
    "GOCRON_BIN",
    "SCRIPTS_DIR",
    "HOOKS_DIR",
    "TELEGRAM_BOT_TOKEN_FILE",
    "TELEGRAM_CHAT_ID_FILE",
    "TELEGRAM_API_ID_FILE",
    "TELEGRAM_API_HASH_FILE",
    "WEBHOOK_ERROR_URL",
    "WEBHOOK_PRE_BACKUP_URL",
    "WEBHOOK_POST_BACKUP_URL",
    "PROJECT_NAME",
    "LOG_FORMAT",
];

#[test]
fn a_key_that_is_not_on_the_list_is_forbidden_alone_and_among_others() {
    let server = Cluster::shared(15);
    let store = Store::new();
    let daemon = Plan::new(server, &store).database("app").start();
    let twins = VARIABLES.iter().map(Variable::file_twin);
    let fixed = VARIABLES.iter().filter(|variable| variable.access == Access::Fixed);
    let mut keys: Vec<String> = twins.chain(fixed.map(|variable| variable.name.to_owned())).collect();
    keys.extend(FIXED.iter().chain(FOREIGN).map(|key| (*key).to_owned()));
    keys.sort();
    keys.dedup();
    let before = daemon.config();
    for key in &keys {
        for value in [json!("TRUE"), json!(""), json!(1), Value::Null] {
            daemon.patch(&json!({key: value})).error(403);
        }
        daemon.patch(&json!({"BACKUP_KEEP_DAYS": "3", key: "1"})).error(403);
        daemon.patch(&json!({"SCHEDULE": "a b c d e", key: "1"})).error(403);
        // Before and after the good one.
        let name = Value::from(key.as_str());
        daemon.patch_text(format!("{{{name}:\"1\",\"BACKUP_KEEP_DAYS\":\"3\"}}").as_bytes()).error(403);
        daemon.patch_text(format!("{{\"BACKUP_KEEP_DAYS\":\"3\",{name}:\"1\"}}").as_bytes()).error(403);
        let path: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
        daemon.delete(&format!("/config/{path}")).error(if key.is_empty() { 404 } else { 403 });
    }
    assert_eq!(overrides(&store), None);
    assert_eq!(daemon.config(), before);
    let listed: Vec<&String> = before.as_object().unwrap().keys().collect();
    assert_eq!(listed.len(), 22, "{listed:?}");
    assert!(listed.iter().all(|key| !keys.contains(key)), "{listed:?}");
}
