//! The pages say what the code does: their tables against the code, in both directions. So does docs/openapi.yaml.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use backupgram::http::{ROUTES, Rights};
use backupgram::settings::{Access, VARIABLES, Variable};
use serde_json::Value;

fn repository_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the table under a heading of a page, each as its cells.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = repository_file(page);
    let section = text.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("{page} has no section {heading:?}"));
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

/// The words in backticks of a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(String::from).collect()
}

#[test]
fn every_setting_is_documented_with_its_default_and_every_documented_setting_is_read() {
    let documented: BTreeMap<String, (String, String)> = table("docs/configuration.md", "Settings")
        .iter()
        .flat_map(|row| {
            let default = quoted(&row[1]).first().cloned().unwrap_or_default();
            quoted(&row[0]).into_iter().map(move |name| (name, (default.clone(), row[2].clone())))
        })
        .collect();
    let mut known = BTreeMap::new();
    for variable in VARIABLES {
        let by_the_api = match variable.access {
            Access::Fixed => "",
            Access::Mutable => "yes",
            Access::WriteOnly => "unseen",
        };
        let facts = (variable.default.to_owned(), by_the_api.to_owned());
        known.insert(variable.name.to_owned(), facts.clone());
        if variable.has_file_twin {
            known.insert(variable.file_twin(), facts);
        }
    }
    assert_eq!(documented, known);
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let path = |request: &str| request.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
    let rows = table("README.md", "The API");
    let documented: BTreeSet<String> =
        rows.iter().flat_map(|row| quoted(&row[0])).map(|request| path(&request)).collect();
    let known = ROUTES.iter().map(|route| route.path.to_owned()).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_dependency_has_a_row_with_a_reason() {
    let manifest = repository_file("Cargo.toml");
    let mut named = BTreeSet::new();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        match line.strip_prefix('[') {
            Some(section) => in_dependencies = section.ends_with("dependencies]"),
            None if in_dependencies => named.extend(line.split_once(" = ").map(|(name, _)| name.to_owned())),
            None => {}
        }
    }
    let rows = table("README.md", "What it is built from");
    assert!(rows.iter().all(|row| row[1].len() > 10), "{rows:?}");
    let explained: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(explained, named);
}

#[test]
fn every_command_is_documented_and_every_documented_command_is_there() {
    let help = Command::new(env!("CARGO_BIN_EXE_backupgram")).arg("help").output().expect("run backupgram");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let indented =
        help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let word = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let known: BTreeSet<String> = indented.map(word).filter(|command| command != "help").collect();
    let rows = table("README.md", "At a shell");
    let commands = rows.iter().take_while(|row| row[0] != "command");
    let documented = commands.flat_map(|row| quoted(&row[0])).map(|call| word(&call)).collect();
    assert_eq!(known, documented);
}

#[test]
fn every_program_says_how_it_is_called() {
    let programs = [
        env!("CARGO_BIN_EXE_backupgram"),
        env!("CARGO_BIN_EXE_backupgram-api"),
        env!("CARGO_BIN_EXE_go-cron"),
    ];
    for program in programs {
        let call = |argument: &str| Command::new(program).arg(argument).output().expect("run it");
        let (asked, wrong) = (call("--help"), call("--no-such-option"));
        let name = Path::new(program).file_name().and_then(|name| name.to_str()).expect("UTF-8");
        let help = String::from_utf8(asked.stdout).expect("UTF-8").to_lowercase();
        assert!(asked.status.success() && help.contains(&format!("usage: {name}")), "{help}");
        let error = String::from_utf8(wrong.stderr).expect("UTF-8");
        assert!(error.contains("--no-such-option") && error.lines().count() == 1, "{error}");
        assert_eq!(wrong.status.code(), Some(2), "{error}");
    }
}

/// The pages for users, by their paths in the repository.
fn pages() -> Vec<String> {
    let docs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).expect("read docs");
    let names = docs.map(|entry| entry.expect("read docs").file_name().into_string().expect("UTF-8"));
    let mut pages: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    pages.sort();
    pages
}

/// Where the links of a page lead, but for those to other sites.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default());
    targets.filter(|target| !target.contains("://")).collect()
}

/// What a heading is called in an address, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let others = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "examples/README.md"];
    for page in pages().into_iter().chain(others.map(String::from)) {
        let text = repository_file(&page);
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = root.join(&page).parent().expect("a directory").join(file);
            let path = if file.is_empty() { root.join(&page) } else { path };
            assert!(path.exists(), "{page} leads to {link}");
            if !heading.is_empty() {
                let target = fs::read_to_string(&path).expect("read a page");
                let headings = target.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
                assert!(anchors.any(|known| known == heading), "{page} leads to {link}");
            }
        }
    }
    let readme = repository_file("README.md");
    let unnamed: Vec<String> =
        pages().into_iter().filter(|page| !readme.contains(&format!("]({page})"))).collect();
    assert!(unnamed.is_empty(), "README.md does not lead to {unnamed:?}");
}

/// The instructions of the Dockerfile that begin with a word, without it.
fn instructions(word: &str) -> Vec<String> {
    let dockerfile = repository_file("Dockerfile").replace("\\\n", " ");
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_image_has_the_ports_the_volume_and_the_entry_points_that_the_code_expects() {
    let default = |name| VARIABLES.iter().find(|variable| variable.name == name).unwrap().default;
    let ports = format!("{} {}", default("HEALTHCHECK_PORT"), default("REST_API_PORT"));
    assert_eq!(instructions("EXPOSE"), [ports]);
    assert_eq!(instructions("VOLUME"), [default("BACKUP_DIR")]);
    let dockerfile = repository_file("Dockerfile");
    assert!(dockerfile.contains(&format!("mkdir {} ", default("HOOKS_DIR"))));
    let copied = instructions("COPY").concat();
    for script in ["init", "env", "backup", "restore", "list", "verify", "telegram", "healthcheck"] {
        assert!(copied.contains(&format!("scripts/{script}.sh ")), "{script}");
        repository_file(&format!("scripts/{script}.sh"));
    }
    assert_eq!(instructions("HEALTHCHECK").concat().split("CMD ").nth(1), Some("[\"/healthcheck.sh\"]"));
    assert_eq!(instructions("ENTRYPOINT"), ["[\"/init.sh\"]"]);
}

/// The document of the API, as the daemon serves it.
fn openapi() -> Value {
    serde_json::from_str(&repository_file("docs/openapi.json")).expect("JSON")
}

/// The operations of the document, by method and path.
fn operations(document: &Value) -> BTreeMap<(String, String), &Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("an object") {
        let methods = item.as_object().expect("an object").iter().filter(|(key, _)| *key != "parameters");
        operations.extend(methods.map(|(key, operation)| ((key.to_uppercase(), path.clone()), operation)));
    }
    operations
}

#[test]
fn every_route_is_in_the_document_of_the_api_and_every_operation_there_is_a_route() {
    let document = openapi();
    let routes = ROUTES.iter().map(|route| (route.method.name().to_owned(), route.path.to_owned()));
    let documented: BTreeSet<_> = operations(&document).into_keys().collect();
    assert_eq!(documented, routes.collect());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_document_says_of_every_operation_which_token_it_needs() {
    let document = openapi();
    assert_eq!(document["security"], serde_json::json!([{"token": []}]));
    for ((method, path), operation) in operations(&document) {
        let mut routes = ROUTES.iter().filter(|route| route.path == path);
        let rights = routes.find(|route| route.method.name() == method).expect("a route").rights;
        let security = match rights {
            None => Some(serde_json::json!([])),
            Some(Rights::Read) => Some(serde_json::json!([{"token": []}, {"readToken": []}])),
            Some(Rights::Full) => None,
        };
        assert_eq!(operation.get("security"), security.as_ref(), "{method} {path}");
        assert_eq!(operation["responses"].get("401").is_none(), rights.is_none(), "{method} {path}");
        let is_forbidden = operation["responses"].get("403").is_some();
        assert_eq!(is_forbidden, rights == Some(Rights::Full), "{method} {path}");
    }
}

#[test]
fn the_document_of_the_api_has_every_setting_that_may_change_and_no_other() {
    let document = openapi();
    let schemas = &document["components"]["schemas"];
    let known: BTreeSet<&str> = Variable::mutable().map(|variable| variable.name).collect();
    let listed = schemas["Key"]["enum"].as_array().expect("a list");
    assert_eq!(listed.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), known);
    for properties in [&schemas["Config"]["properties"]["config"], &schemas["ConfigChanges"]] {
        let properties = properties["properties"].as_object().expect("an object");
        assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    }
}

#[test]
fn what_is_served_is_made_of_the_yaml_and_its_examples_keep_to_it() {
    let root = env!("CARGO_MANIFEST_DIR");
    let yaml = fs::File::open(Path::new(root).join("docs/openapi.yaml")).expect("docs/openapi.yaml");
    let mut command = Command::new("/var/tmp/backupgram-python/bin/python");
    let output = command.arg("scripts/lib/openapi.py").current_dir(root).stdin(yaml).output();
    let output = output.expect("Python is missing: run scripts/test.sh, which fetches it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(made == repository_file("docs/openapi.json"), "run scripts/openapi.sh");
}
