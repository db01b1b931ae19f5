//! The documented curl examples, one after another, as a reader would paste them.
//!
//! Only the port, and the dates in the names of backups, differ from the page.

use std::path::Path;

use serde_json::Value;

use crate::harness::*;

/// A shell in which `$REST_API_TOKEN` and `$TOKEN` are set, and 8081 is this daemon's port.
struct Reader<'d, 's> {
    daemon: &'d Daemon<'s>,
}

impl Reader<'_, '_> {
    #[track_caller]
    fn pastes(&self, script: &str) -> String {
        let script = script.replace("localhost:8081", &format!("localhost:{}", self.daemon.port));
        let outcome = Cli::of_program("/bin/sh", self.daemon.store)
            .env("REST_API_TOKEN", &self.daemon.token)
            .env("TOKEN", &self.daemon.token)
            .args(["-eu", "-c", &script])
            .run()
            .succeeded();
        outcome.stdout
    }

    #[track_caller]
    fn pastes_for_json(&self, script: &str) -> Value {
        let text = self.pastes(script);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{script}\n{text}\n{error}"))
    }
}

/// The page's way to wait, and then to look.
const POLL: &str = r#"
until [ "$(curl -s -H "Authorization: Bearer $REST_API_TOKEN" \
  http://localhost:8081/jobs/$JOB | jq -r .state)" != "running" ]; do
  sleep 2
done

curl -s -H "Authorization: Bearer $REST_API_TOKEN" \
  http://localhost:8081/jobs/$JOB | jq .
"#;

fn the_documented_curl_examples_run_one_after_another(server: &'static Cluster) {
    let store = Store::new();
    let database = server.database_named("mydb");
    database.fill(500);
    let before = database.dump();
    let daemon = Plan::new(server, &store).database("mydb").start();
    let reader = Reader { daemon: &daemon };

    liveness_and_tokens(&reader);
    let status = reader.pastes_for_json(
        "curl -s -H \"Authorization: Bearer $REST_API_TOKEN\" \\\n  http://localhost:8081/status",
    );
    assert_eq!(status["schedule"], "@yearly");
    assert!(status.get("last_backup").is_none(), "{status}");

    a_backup_and_its_job(&reader);
    let (last, daily) = the_list(&reader, &store);
    a_download(&reader, &store, &daily);

    database.sql("DELETE FROM orders; INSERT INTO customers VALUES (77, 'came later')");
    a_restore(&reader, &last);
    assert_eq!(database.dump(), before);

    let deleted = reader.pastes_for_json(&format!(
        "curl -X DELETE \\\n  -H \"Authorization: Bearer $REST_API_TOKEN\" \\\n  \
         \"http://localhost:8081/backups/last/{last}?confirm=true\""
    ));
    assert_eq!(deleted["deleted"], last.as_str());
    assert!(store.dated("last").is_empty());

    the_settings(&reader);
}
on_both_servers!(the_documented_curl_examples_run_one_after_another);

fn liveness_and_tokens(reader: &Reader<'_, '_>) {
    assert_eq!(reader.pastes("curl http://localhost:8081/healthz"), "{\"status\":\"ok\"}\n");
    let codes = reader.pastes(
        r#"
curl -s -o /dev/null -w '%{http_code}\n' http://localhost:8081/healthz                       # 200 (no auth needed)
curl -s -o /dev/null -w '%{http_code}\n' http://localhost:8081/status                        # 401 (missing)
curl -s -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer wrong" http://localhost:8081/status   # 401
curl -s -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $TOKEN" http://localhost:8081/status  # 200
"#,
    );
    assert_eq!(codes, "200\n401\n401\n200\n");
}

fn a_backup_and_its_job(reader: &Reader<'_, '_>) {
    let start = r#"
JOB=$(curl -s -X POST \
  -H "Authorization: Bearer $REST_API_TOKEN" \
  http://localhost:8081/backup | jq -r .job_id)
"#;
    let job = reader.pastes_for_json(&format!("{start}{POLL}"));
    assert_eq!(job["type"], "backup");
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(job["exit_code"], 0);
    assert_eq!(job["error"], "");
    assert!(!job["log_tail"].as_array().expect("an array").is_empty());
    let second = |key: &str| job[key].as_i64().unwrap_or_else(|| panic!("{key} in {job:#}"));
    assert!(second("queued_at") > 1_600_000_000);
    assert!(second("queued_at") <= second("started_at") && second("started_at") <= second("finished_at"));
    let keys: Vec<&String> = job.as_object().expect("an object").keys().collect();
    for key in
        ["id", "type", "state", "queued_at", "started_at", "finished_at", "exit_code", "log_tail", "error"]
    {
        assert!(keys.iter().any(|name| *name == key), "{key} in {keys:?}");
    }
}

/// Answers the names of the backup in `last` and in `daily`.
fn the_list(reader: &Reader<'_, '_>, store: &Store) -> (String, String) {
    let list = reader.pastes_for_json(
        "curl -s -H \"Authorization: Bearer $REST_API_TOKEN\" \\\n  http://localhost:8081/backups | jq .",
    );
    let entries = list["backups"].as_array().expect("a list");
    let (last, daily) = (store.only("last"), store.only("daily"));
    assert!(
        last.starts_with("mydb-20")
            && last.ends_with(".sql.gz")
            && last.len() == "mydb-20260416-143000.sql.gz".len()
    );
    assert!(daily.len() == "mydb-20260416.sql.gz".len());
    for (slot, name) in [("last", &last), ("daily", &daily), ("weekly", &store.only("weekly"))] {
        let entry = entries.iter().find(|entry| entry["slot"] == slot && entry["name"] == name.as_str());
        let entry = entry.unwrap_or_else(|| panic!("{slot}/{name} in {list:#}"));
        let metadata = store.file(slot, name).metadata().expect("look at a backup");
        assert_eq!(entry["size"], metadata.len());
        assert!(entry["mtime"].as_i64().is_some_and(|mtime| mtime > 1_600_000_000), "{entry}");
    }
    (last, daily)
}

fn a_download(reader: &Reader<'_, '_>, store: &Store, daily: &str) {
    reader.pastes(&format!(
        "curl -OJ -H \"Authorization: Bearer $REST_API_TOKEN\" \\\n  \
         \"http://localhost:8081/backups/daily/{daily}\""
    ));
    let downloaded: &Path = &store.root().join(daily);
    assert_eq!(std::fs::read(downloaded).unwrap(), std::fs::read(store.file("daily", daily)).unwrap());
    assert!(read_dump(downloaded).unwrap().contains("PostgreSQL database dump complete"));
}

fn a_restore(reader: &Reader<'_, '_>, last: &str) {
    let accepted = reader.pastes_for_json(&format!(
        r#"
curl -s -X POST \
  -H "Authorization: Bearer $REST_API_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{{"file":"last/{last}","target_db":"mydb","confirm":true}}' \
  http://localhost:8081/restore | jq .
"#
    ));
    let id = accepted["job_id"].as_str().expect("a job");
    let job = reader.pastes_for_json(&format!("JOB={id}\n{POLL}"));
    assert_eq!(job["type"], "restore");
    assert_eq!(job["state"], "succeeded", "{job:#}");
}

fn the_settings(reader: &Reader<'_, '_>) {
    let config = reader.pastes_for_json(
        "curl -s -H \"Authorization: Bearer $REST_API_TOKEN\" \\\n  http://localhost:8081/config | jq .",
    );
    let config = &config["config"];
    assert_eq!(config["SCHEDULE"], serde_json::json!({"value": "@yearly", "source": "base"}));
    assert_eq!(config["POSTGRES_DB"], serde_json::json!({"value": "mydb", "source": "base"}));
    for secret in ["TELEGRAM_BOT_TOKEN", "TELEGRAM_API_ID", "TELEGRAM_API_HASH", "WEBHOOK_URL"] {
        assert_eq!(config[secret], serde_json::json!({"set": false, "source": "base"}), "{secret}");
    }
    for plain in [
        "BACKUP_KEEP_MINS",
        "BACKUP_KEEP_DAYS",
        "BACKUP_KEEP_WEEKS",
        "BACKUP_KEEP_MONTHS",
        "POSTGRES_DB_AUTODISCOVER",
        "POSTGRES_DB_EXCLUDE",
        "POSTGRES_EXTRA_OPTS",
        "POSTGRES_EXCLUDE_TABLES",
        "TELEGRAM_CHAT_ID",
        "TELEGRAM_THREAD_ID",
        "TELEGRAM_NOTIFY_ON",
        "TELEGRAM_API_URL",
        "BACKUP_MIN_DISK_SPACE",
        "BACKUP_MAX_AGE_HOURS",
        "WEBHOOK_EXTRA_ARGS",
    ] {
        assert!(config[plain]["value"].is_string(), "{plain}: {}", config[plain]);
    }
    assert!(config.get("POSTGRES_PASSWORD").is_none() && config.get("REST_API_TOKEN").is_none(), "{config}");
}
