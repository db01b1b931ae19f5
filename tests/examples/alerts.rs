use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{documents, example, repository};

/// The metrics of `GET /metrics` that are worth an alert.
const METRICS: [&str; 19] = [
    "backupgram_backup_failures_total",
    "backupgram_backup_last_size_bytes",
    "backupgram_backup_last_success_timestamp_seconds",
    "backupgram_build_info",
    "backupgram_free_bytes",
    "backupgram_http_requests_total",
    "backupgram_jobs_total",
    "backupgram_last_run_duration_seconds",
    "backupgram_last_run_success",
    "backupgram_next_run_timestamp_seconds",
    "backupgram_problems",
    "backupgram_proof_last_timestamp_seconds",
    "backupgram_queue_jobs",
    "backupgram_refused_connections_total",
    "backupgram_run_overdue",
    "backupgram_scheduler_restarts_total",
    "backupgram_scheduler_up",
    "backupgram_slot_backups",
    "backupgram_slot_bytes",
];

fn rules() -> Vec<Value> {
    let file = documents("prometheus-alerts.yaml").remove(0);
    file["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .cloned()
        .collect()
}

fn alert_names() -> BTreeSet<String> {
    rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

fn promtool(arguments: [&str; 3]) {
    let fetched = PathBuf::from("/var/tmp/backupgram-promtool/promtool");
    let program = if fetched.exists() { fetched } else { "promtool".into() };
    let output = Command::new(program).args(arguments).current_dir(repository("tests/examples")).output();
    let output = output.expect("promtool is missing: run scripts/test.sh, which fetches it");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn prometheus_takes_the_rules() {
    promtool(["check", "rules", "../../examples/prometheus-alerts.yaml"]);
}

#[test]
fn every_alert_fires_when_it_should_and_not_before() {
    promtool(["test", "rules", "alerts.yaml"]);
    // What fires at a time is named in full there, so each alert that fires once is quiet at the other times.
    let cases = example("../tests/examples/alerts.yaml");
    let fired = cases.split("alertname=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    assert_eq!(fired.collect::<BTreeSet<_>>(), alert_names());
}

#[test]
fn the_alerts_are_on_all_metrics_that_are_worth_one_and_on_no_others() {
    let rules = rules();
    let expressions = rules.iter().map(|rule| rule["expr"].as_str().unwrap());
    let words = expressions.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("backupgram_")).collect();
    assert_eq!(used, METRICS.into());
}

#[test]
fn every_alert_has_a_comment_a_severity_and_a_summary() {
    let text = example("prometheus-alerts.yaml");
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let alerts = lines.iter().zip(&lines[1..]).filter(|(_, line)| line.starts_with("- alert: "));
    assert!(alerts.clone().all(|(above, _)| above.starts_with("# ")));
    assert_eq!(alerts.count(), alert_names().len());
    for rule in rules() {
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{rule}");
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|text| text.len() > 20), "{rule}");
    }
}
