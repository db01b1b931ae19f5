//! Requests as the clients, proxies and generators that there are make them: bodies in chunks above all, and what a
//! program makes of the API's document.

mod proxies;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::contract::python;
use crate::harness::command::Outcome;
use crate::harness::*;

/// What `scripts/test.sh` installs for Node.
const NODE_MODULES: &str = "/var/tmp/backupgram-node/node_modules";

/// Where a program is; says so where it is not.
fn program(name: &str) -> Option<PathBuf> {
    let places = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = places.map(|place| Path::new(place).join(name)).into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: there is no {name} here");
    }
    found
}

/// Node with a program of [`NODE_MODULES`]; says so where there is none.
fn node(store: &Store, script: &str) -> Option<Cli> {
    let node = program("node")?;
    let path = Path::new(NODE_MODULES).join(script);
    if !path.exists() {
        eprintln!("SKIPPED: there is no {}: scripts/test.sh fetches it where there is npm", path.display());
        return None;
    }
    Some(Cli::of_program(node, store).env("HOME", store.root()).args([path]))
}

fn here(name: &str) -> String {
    format!("{}/tests/e2e/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn document() -> String {
    here("../../../docs/openapi.json")
}

/// A daemon with small databases.
struct Scene<'s> {
    store: &'s Store,
    databases: Vec<Database<'static>>,
    daemon: Daemon<'s>,
}

impl<'s> Scene<'s> {
    fn new(store: &'s Store) -> Self {
        Self::with_databases(store, 1)
    }

    /// One whose backups wait for none before it: two of a database are never of one second.
    fn with_databases(store: &'s Store, count: usize) -> Self {
        let server = Cluster::shared(15);
        let databases: Vec<Database<'_>> = (0..count).map(|_| server.database("client")).collect();
        databases[0].fill(20);
        let names: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
        let daemon = Plan::new(server, store).database(&names.join(",")).start();
        Self { store, databases, daemon }
    }

    /// The address of the daemon.
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.daemon.port)
    }

    /// A client with the address of the daemon, or of a proxy in front of it.
    fn told(&self, client: Cli, url: &str) -> Cli {
        client
            .env("HOME", self.store.root())
            .env("URL", url)
            .env("REST_API_TOKEN", &self.daemon.token)
            .env("DATABASE", &self.databases[0].name)
            .env("TARGET", format!("{}_copy", self.databases[0].name))
    }

    /// Has a client send what it sends, and sees that it was taken: a setting and a backup of the database whose turn it is, of
    /// which the job must succeed.
    #[track_caller]
    fn takes(&self, client: Cli, url: &str, days: &str) -> Outcome {
        let before = self.jobs();
        let name = &self.databases[before.len() % self.databases.len()].name;
        let outcome = self.told(client, url).env("DATABASE", name).env("DAYS", days).run().succeeded();
        let config = self.daemon.get("/config").json();
        assert_eq!(config["config"]["BACKUP_KEEP_DAYS"]["value"], days, "{outcome}");
        let jobs = self.jobs();
        assert_eq!(jobs.len(), before.len() + 1, "{outcome}");
        self.daemon.succeeded(jobs[0]["id"].as_str().unwrap());
        self.store.only_of("daily", name);
        outcome
    }

    fn jobs(&self) -> Vec<Value> {
        self.daemon.get("/jobs").json()["jobs"].as_array().unwrap().clone()
    }
}

/// curl, which does not know how long it is what comes by a pipe. `CA` is the file of who is trusted, if it is set.
fn curl(store: &Store) -> Cli {
    const LINES: &str = r#"
        send() {
            printf %s "$3" | curl -sS --fail-with-body ${CA:+--cacert "$CA"} -w ' by HTTP/%{http_version}\n' \
                -T - -X "$1" -H "Authorization: Bearer $REST_API_TOKEN" "$URL$2"
        }
        send PATCH /config "{\"BACKUP_KEEP_DAYS\":\"$DAYS\"}"
        send POST /backup "{\"databases\":[\"$DATABASE\"]}""#;
    Cli::of_program("/bin/sh", store).args(["-euc", LINES])
}

fn python_stream(scene: &Scene<'_>) -> Cli {
    python(&scene.daemon).args([here("stream.py")])
}

fn node_stream(store: &Store) -> Option<Cli> {
    Some(Cli::of_program(program("node")?, store).args([here("stream.mjs")]))
}

/// Java, with more options of its own.
fn java_stream(store: &Store, options: &[String]) -> Option<Cli> {
    let (java, _) = (program("java")?, program("javac")?);
    let java = Cli::of_program(java, store).args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    Some(java.args(options).args([here("Stream.java")]))
}

#[test]
fn bodies_that_curl_and_python_stream_are_taken() {
    let store = Store::new();
    let scene = Scene::new(&store);
    scene.takes(curl(&store), &scene.url(), "11");
    scene.takes(python_stream(&scene), &scene.url(), "12");
}

#[test]
fn a_body_that_node_streams_is_taken() {
    let store = Store::new();
    let Some(node) = node_stream(&store) else { return };
    let scene = Scene::new(&store);
    scene.takes(node, &scene.url(), "13");
}

#[test]
fn a_body_that_java_streams_is_taken() {
    let store = Store::new();
    let Some(java) = java_stream(&store, &[]) else { return };
    let scene = Scene::new(&store);
    scene.takes(java, &scene.url(), "14");
}

/// Asserts that the database was restored under the name that a generated client gave it.
#[track_caller]
fn assert_restored(scene: &Scene<'_>) {
    let (server, copy) = (Cluster::shared(15), format!("{}_copy", scene.databases[0].name));
    assert!(server.dump(&copy) == scene.databases[0].dump());
    server.sql("postgres", &format!("DROP DATABASE {}", quoted(&copy)));
}

#[test]
fn a_client_that_openapi_python_client_makes_of_the_document_backs_up_and_restores() {
    let store = Store::new();
    let scene = Scene::new(&store);
    fs::write(store.root().join("settings.yaml"), "post_hooks: []\n").unwrap();
    let output = store.root().join("generated");
    let outcome = python(&scene.daemon)
        .args(["-m", "openapi_python_client", "generate", "--path", &document(), "--meta", "none"])
        .args(["--config", "settings.yaml", "--output-path", output.to_str().unwrap(), "--fail-on-warning"])
        .run()
        .succeeded();
    assert!(!outcome.text().to_lowercase().contains("warning"), "{outcome}");
    let client = python(&scene.daemon).args([here("generated.py")]);
    scene.told(client, &scene.url()).run().succeeded().saying("done");
    assert_restored(&scene);
}

#[test]
fn a_client_with_the_types_that_openapi_typescript_makes_backs_up_and_restores() {
    let store = Store::new();
    let Some(generator) = node(&store, "openapi-typescript/bin/cli.js") else { return };
    let Some(compiler) = node(&store, "typescript/bin/tsc") else { return };
    let scene = Scene::new(&store);
    let root = store.root();
    std::os::unix::fs::symlink(NODE_MODULES, root.join("node_modules")).unwrap();
    fs::write(root.join("package.json"), "{\"type\":\"module\"}").unwrap();
    fs::copy(here("generated.ts"), root.join("client.ts")).unwrap();
    generator.args([&document(), "--output", "generated.d.ts"]).run().succeeded();
    let options = ["--strict", "--target", "es2022", "--lib", "es2022,dom", "--skipLibCheck"];
    let modules = ["--module", "nodenext", "--moduleResolution", "nodenext", "client.ts"];
    compiler.args(options).args(modules).run().succeeded();
    let client = Cli::of_program(program("node").unwrap(), &store).args(["client.js"]);
    scene.told(client, &scene.url()).run().succeeded().saying("done");
    assert_restored(&scene);
}

#[test]
fn no_linter_finds_an_error_in_the_document() {
    let store = Store::new();
    if let Some(redocly) = node(&store, "@redocly/cli/bin/cli.js") {
        let redocly = redocly.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
        redocly.args(["lint", "--extends", "recommended", &document()]).run().succeeded();
    }
    if let Some(spectral) = node(&store, "@stoplight/spectral-cli/dist/index.js") {
        fs::write(store.root().join("rules.yaml"), "extends: ['spectral:oas']\n").unwrap();
        spectral.args(["lint", "--ruleset", "rules.yaml", &document()]).run().succeeded();
    }
}
