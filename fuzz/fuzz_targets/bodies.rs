//! The JSON bodies of PATCH /config, POST /backup, POST /restore and POST /verify: the first line says which of
//! them the rest is.

#![no_main]

use std::collections::BTreeSet;

use backupgram::store::catalog::BackupName;
use backupgram::gate::{ApiError, Body, Response};
use backupgram::http::handlers::config::asked_changes;
use backupgram::http::handlers::jobs::{asked_backup, asked_restore, asked_verification};
use backupgram::service::jobs::Task;
use backupgram::settings::overrides::Overrides;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let body = &bytes[end + 1..];
    match &bytes[..end] {
        b"config" => config(body),
        b"backup" => backup(body),
        b"restore" => restore(body),
        b"verify" => verify(body),
        _ => {}
    }
});

/// An accepted body is one JSON object to any reader of JSON, or empty.
fn object(body: &[u8]) -> Map<String, Value> {
    let text = std::str::from_utf8(body).expect("UTF-8");
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        other => {
            assert!(text.trim().is_empty(), "{other:?} was taken");
            Map::new()
        }
    }
}

/// A refusal is 4xx with one line of JSON.
fn refused(error: ApiError) {
    let response = Response::from(error);
    assert!((400..500).contains(&response.status), "{}", response.status);
    let Body::Bytes(body) = response.body else { panic!("a refusal with a file") };
    let said: Value = serde_json::from_slice(&body).expect("a refusal in JSON");
    assert!(said["error"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{said}");
}

fn config(body: &[u8]) {
    let changes = match asked_changes(body) {
        Ok(changes) => changes,
        Err(error) => return refused(error),
    };
    let object = object(body);
    assert!(changes.keys().eq(object.keys().collect::<BTreeSet<_>>()));
    for (key, change) in &changes {
        match (change, &object[key]) {
            (None, Value::Null) => {}
            (Some(text), Value::String(asked)) => assert_eq!(text, asked),
            (Some(text), Value::Bool(asked)) => assert_eq!(text.to_lowercase(), asked.to_string()),
            (Some(text), Value::Number(asked)) => assert_eq!(*text, asked.to_string()),
            (change, asked) => panic!("{key}: {asked} became {change:?}"),
        }
    }
    let spelled_out = json!(changes).to_string();
    assert_eq!(asked_changes(spelled_out.as_bytes()).ok().as_ref(), Some(&changes));
    // What the settings take of it survives a restart.
    if let Ok(overrides) = Overrides::default().changed(&changes) {
        assert_eq!(Overrides::parse(overrides.render().as_bytes()), Ok(overrides));
    }
}

fn backup(body: &[u8]) {
    let databases = match asked_backup(body) {
        Ok(databases) => databases,
        Err(error) => return refused(error),
    };
    if serde_json::from_slice::<Value>(body).is_err() {
        return assert!(databases.is_empty(), "what is not JSON has named databases");
    }
    let object = object(body);
    assert!(object.keys().all(|key| key == "databases"));
    match object.get("databases") {
        None => assert!(databases.is_empty()),
        Some(asked) => {
            assert!(!databases.is_empty(), "an empty list stands for every database");
            assert_eq!(*asked, json!(databases));
        }
    }
    for database in databases {
        assert!((1..64).contains(&database.as_str().len()) && !database.as_str().contains('\0'));
    }
}

fn restore(body: &[u8]) {
    let task = match asked_restore(body) {
        Ok(task) => task,
        Err(error) => return refused(error),
    };
    let object = object(body);
    assert_eq!(object["confirm"], true, "a restore that nobody has confirmed");
    // Clients that send every field send nothing in the one that they do not mean.
    let is_absent = |key: &str| {
        let is_nothing =
            |value: &Value| value.as_f64() == Some(0.0) || [Value::Null, json!("")].contains(value);
        object.get(key).is_none_or(is_nothing)
    };
    let (target, options) = match task {
        Task::Restore { slot, name, target, options } => {
            assert_eq!(object["file"], format!("{slot}/{name}"));
            assert!(is_absent("telegram_message_id") && !object.contains_key("telegram_chat_id"));
            assert_eq!(BackupName::parse(name.as_str()).as_ref(), Ok(&name));
            (target, options)
        }
        Task::RestoreFromTelegram { message, chat, target, options } => {
            // JSON has one kind of numbers.
            assert_eq!(object["telegram_message_id"].as_f64(), Some(message as f64));
            assert_eq!(object.get("telegram_chat_id"), chat.map(|chat| json!(chat.as_str())).as_ref());
            assert!(message > 0 && is_absent("file"));
            (target, options)
        }
        task => panic!("another task: {task:?}"),
    };
    assert_eq!(object["target_db"], target.as_str());
    for (key, is_set) in [
        ("keep_previous", options.keep_previous),
        ("drop_replication", options.drop_replication),
        ("keep_going", options.keep_going),
        ("ignore_manifest", options.ignore_manifest),
    ] {
        assert_eq!(*object.get(key).unwrap_or(&Value::Bool(false)), is_set, "{key}");
    }
    let properties = object.get("properties").unwrap_or(&Value::Null);
    assert_eq!(properties.as_str().unwrap_or("all"), options.properties.word());
    for (key, file) in [("before", options.before), ("after", options.after)] {
        assert_eq!(*object.get(key).unwrap_or(&Value::Null), json!(file), "{key}");
    }
    let search_path = object.get("search_path").and_then(Value::as_str).map(str::trim);
    assert_eq!(search_path, options.search_path.as_ref().map(|list| list.as_str()));
    assert!(target.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
}

fn verify(body: &[u8]) {
    match asked_verification(body) {
        Ok((slot, name, restores)) => {
            let mut object = object(body);
            assert_eq!(object.remove("restore").unwrap_or(Value::Bool(false)), restores);
            assert_eq!(object, *json!({ "file": format!("{slot}/{name}") }).as_object().unwrap());
        }
        Err(error) => refused(error),
    }
}
