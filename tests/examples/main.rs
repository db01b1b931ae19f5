//! The examples are valid, name nothing that the code does not know, and do what they say.
//!
//! Python reads the YAML and checks it by the schemas in `tests/vectors`; `scripts/test.sh` fetches what that
//! needs.
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

/// The rules for Prometheus fire when they should, and on metrics that there are.
mod alerts;
/// The files for Docker Compose.
mod compose;
/// The files for Kubernetes.
mod kubernetes;
/// The hook that copies backups elsewhere.
mod offsite;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use backupgram::settings::{VARIABLES, Variable};
use serde_json::Value;

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn example(name: &str) -> String {
    let path = repository("examples").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of an example, found to follow its schema, if there is one. Each is read once: Python takes
/// its time.
fn documents(name: &str) -> Vec<Value> {
    static READ: Mutex<BTreeMap<String, Vec<Value>>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(documents) = read.get(name) {
        return documents.clone();
    }
    let schema = match name.split_once(['.', '-']) {
        Some(("docker", _)) => Some("compose-spec.schema.json"),
        Some(("kubernetes", _)) => Some("kubernetes-1.34.schema.json"),
        _ => None,
    };
    // Not the first python3 of PATH: Debian's packages are for Debian's.
    let mut python = Command::new("/usr/bin/python3");
    python.arg(repository("tests/examples/read_yaml.py")).arg(repository("examples").join(name));
    python.args(schema.map(|schema| repository("tests/vectors").join(schema)));
    let output = python.output().expect("run python3");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    read.insert(name.to_owned(), documents.clone());
    documents
}

/// The names of the examples with this beginning and end, in order.
fn examples(prefix: &str, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(repository("examples")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(prefix) && name.ends_with(suffix)).collect();
    names.sort();
    names
}

fn default_of(name: &str) -> &'static str {
    Variable::named(name).unwrap_or_else(|| panic!("no variable {name}")).default
}

/// The variable that a name of the environment is, or is the `_FILE` twin of.
fn variable(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|known| known.name == name || (known.has_file_twin && known.file_twin() == name))
}

/// Has `check-env` find nothing wrong with these settings. The directory of the backups and the files of secrets
/// are others, as this machine has not those.
fn check_env(settings: &BTreeMap<String, String>) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backupgram"));
    command.arg("check-env").env_clear().envs(settings).env("BACKUP_DIR", directory.path());
    for (name, path) in settings.iter().filter(|(_, path)| !path.is_empty()) {
        if variable(name).is_some_and(|known| known.name != name) {
            // No two secrets are the same.
            let secret = directory.path().join(name);
            fs::write(&secret, format!("0123456789abcdef0123456789abcdef-{name}\n")).unwrap();
            command.env(name, &secret);
            assert!(path.starts_with("/run/secrets/"), "{name} is {path}");
        }
    }
    let output = command.output().expect("run backupgram");
    assert!(output.status.success(), "{settings:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The strings of a JSON array.
fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// The keys of a JSON object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str)).collect()
}

#[test]
fn the_readme_leads_to_every_example() {
    let readme = example("README.md");
    for name in [examples("", ".yml"), examples("", ".yaml"), examples("", ".example")].concat() {
        assert!(readme.contains(&format!("({name})")), "{name}");
    }
    let links = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links {
        assert!(repository("examples").join(link).exists(), "{link}");
    }
}
