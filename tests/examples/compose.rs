use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    VARIABLES, check_env, default_of, documents, example, examples, keys, repository, strings, variable,
};

const IMAGE: &str = "ganiyevuz/backupgram:17";
/// What the hooks of the examples, and the programs that they call, are told by.
const OF_HOOKS: [&str; 2] = ["OFFSITE_REMOTE", "RCLONE_CONFIG"];
/// Settings that have no default and are needed.
const NEEDED: [&str; 4] = ["POSTGRES_HOST", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"];

fn files() -> Vec<String> {
    let files = examples("docker-compose.", ".yml");
    assert_eq!(files.len(), 6);
    files
}

fn parsed(file: &str) -> Value {
    documents(file).remove(0)
}

/// Name and value of each line of `.env.example`.
fn dot_env() -> BTreeMap<String, String> {
    let text = example(".env.example");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The text as Compose reads it, and the names that it asks for.
fn interpolated(text: &str) -> (String, BTreeSet<String>) {
    let (known, mut asked) = (dot_env(), BTreeSet::new());
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        done += before;
        if let Some(escaped) = after.strip_prefix('$') {
            (done, rest) = (done + "$", escaped);
            continue;
        }
        let (inside, after) =
            after.strip_prefix('{').and_then(|after| after.split_once('}')).expect("${NAME:?why}");
        let (name, message) = inside.split_once(":?").expect("a word for who has not set it");
        assert!(message.ends_with("see .env.example"), "{text}");
        done += known.get(name).unwrap_or_else(|| panic!("{name} is not in .env.example"));
        asked.insert(name.to_owned());
        rest = after;
    }
    (done + rest, asked)
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let variables = service["environment"].as_object().unwrap().iter();
    variables.map(|(name, value)| (name.clone(), interpolated(value.as_str().unwrap()).0)).collect()
}

#[test]
fn every_file_is_of_this_image_and_sets_only_what_the_code_knows() {
    for file in files() {
        let service = &parsed(&file)["services"]["backup"];
        let built = service["build"]["dockerfile_inline"].as_str();
        let image = built.and_then(|text| text.lines().next()).and_then(|line| line.strip_prefix("FROM "));
        assert_eq!(image.or(service["image"].as_str()), Some(IMAGE), "{file}");
        let settings = environment(service);
        for name in settings.keys().filter(|name| !OF_HOOKS.contains(&name.as_str())) {
            assert!(variable(name).is_some(), "{file}: {name}");
        }
        check_env(&settings);
    }
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    assert!(readme.contains(&format!("image: {IMAGE}\n")));
}

#[test]
fn the_full_file_has_every_setting_with_its_default() {
    let mut expected = BTreeMap::new();
    for known in VARIABLES {
        expected.insert(known.name.to_owned(), known.default.to_owned());
        if known.has_file_twin {
            expected.insert(known.file_twin(), String::new());
        }
    }
    let mut found = environment(&parsed("docker-compose.full.yml")["services"]["backup"]);
    for name in NEEDED {
        let value = found.insert(name.into(), String::new()).unwrap();
        assert!(!value.is_empty() && default_of(name).is_empty(), "{name}");
    }
    assert_eq!(found, expected);
    let text = example("docker-compose.full.yml");
    for line in text.split("\n  backup:\n").nth(1).unwrap().lines() {
        let name = line.trim_start().split(':').next().unwrap();
        let is_setting = expected.contains_key(name) && !name.ends_with("_FILE");
        assert!(!is_setting || line.contains(" # "), "no comment: {line}");
    }
}

#[test]
fn the_file_of_secrets_names_every_setting_that_a_file_may_hold() {
    let head = example("docker-compose.secrets.yml");
    let head = head.split("\nservices:").next().unwrap();
    let list = head.split("with _FILE behind it: ").nth(1).unwrap().split(". ").next().unwrap();
    let named: Vec<&str> = list.split(',').map(|name| name.trim_matches([' ', '\n', '#'])).collect();
    let twins = VARIABLES.iter().filter(|variable| variable.has_file_twin).map(|variable| variable.name);
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), twins.collect::<BTreeSet<_>>());
}

#[test]
fn what_the_files_ask_for_is_what_the_example_of_an_env_file_has() {
    let asked = files().into_iter().flat_map(|file| {
        let text = parsed(&file).to_string();
        interpolated(&text).1
    });
    assert_eq!(asked.collect::<BTreeSet<_>>(), dot_env().into_keys().collect());
}

#[test]
fn ports_and_paths_are_those_of_the_code() {
    let api = default_of("REST_API_PORT");
    for file in files() {
        let whole = parsed(&file);
        let service = &whole["services"]["backup"];
        for port in strings(&service["ports"]) {
            assert_eq!(port, format!("127.0.0.1:{api}:{api}"), "{file}");
        }
        let paths: BTreeSet<&str> =
            strings(&service["volumes"]).iter().map(|volume| volume.split(':').nth(1).unwrap()).collect();
        assert!(paths.contains(default_of("BACKUP_DIR")), "{file}");
        assert!(paths.is_subset(&[default_of("BACKUP_DIR"), default_of("HOOKS_DIR")].into()), "{file}");
        let is_on = service["environment"]["REST_API_ENABLE"] == "TRUE";
        assert!(is_on || service["ports"].is_null(), "{file} publishes a port where nobody listens");
        assert_eq!(
            service["environment"]["REST_API_TOKEN"].is_string()
                || service["environment"]["REST_API_TOKEN_FILE"].is_string(),
            is_on || file.contains("full"),
            "{file}"
        );
    }
}

#[test]
fn only_the_proxy_can_be_reached_and_it_leads_to_the_api() {
    let whole = parsed("docker-compose.caddy-tls.yml");
    let services = &whole["services"];
    let published: Vec<&str> =
        keys(services).into_iter().filter(|name| !services[name]["ports"].is_null()).collect();
    assert_eq!(published, ["caddy"]);
    let caddyfile = whole["configs"]["caddyfile"]["content"].as_str().unwrap();
    let address = format!("reverse_proxy backup:{} {{", default_of("REST_API_PORT"));
    assert!(caddyfile.contains(&address) && caddyfile.starts_with("${BACKUP_DOMAIN:?"), "{caddyfile}");
    let shared = |a: &str, b: &str| {
        let [a, b] = [a, b].map(|name| strings(&services[name]["networks"]));
        a.iter().any(|network| b.contains(network))
    };
    assert!(shared("caddy", "backup") && shared("backup", "postgres") && !shared("caddy", "postgres"));
}

#[test]
fn every_name_is_declared_and_every_declaration_used() {
    for file in files() {
        let whole = parsed(&file);
        let services: Vec<&Value> = whole["services"].as_object().unwrap().values().collect();
        let used = |kind: &str, name: fn(&Value) -> Option<String>| -> BTreeSet<String> {
            let items = services.iter().flat_map(|service| service[kind].as_array().into_iter().flatten());
            items.filter_map(name).collect()
        };
        let word = |item: &Value| item.as_str().map(String::from);
        let volume = |item: &Value| {
            let source = item.as_str().unwrap().split(':').next().unwrap();
            let is_path = source.starts_with('.');
            assert!(!is_path || repository("examples").join(source).exists(), "{source}");
            (!is_path).then(|| source.to_owned())
        };
        let config = |item: &Value| item["source"].as_str().map(String::from);
        for (kind, used) in [
            ("volumes", used("volumes", volume)),
            ("networks", used("networks", word)),
            ("secrets", used("secrets", word)),
            ("configs", used("configs", config)),
        ] {
            let declared: BTreeSet<String> = keys(&whole[kind]).into_iter().map(String::from).collect();
            assert_eq!(used, declared, "{kind} of {file}");
        }
        for service in services {
            let mounted = strings(&service["secrets"]);
            for (name, value) in environment_of(service) {
                if let Some(secret) = value.strip_prefix("/run/secrets/") {
                    assert!(mounted.contains(&secret), "{file}: {name}");
                }
            }
        }
    }
}

/// The same for a service that may have none.
fn environment_of(service: &Value) -> BTreeMap<String, String> {
    if service["environment"].is_null() { BTreeMap::new() } else { environment(service) }
}
