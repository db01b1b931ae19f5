//! Requests as the clients, proxies and generators that there are make them: bodies in chunks above all, and what a
//! program makes of the API's document.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::contract::python;
use crate::harness::cluster::free_port;
use crate::harness::command::Running;
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

/// A daemon with a small database.
struct Scene<'s> {
    store: &'s Store,
    database: Database<'static>,
    daemon: Daemon<'s>,
}

impl<'s> Scene<'s> {
    fn new(store: &'s Store) -> Self {
        let database = Cluster::shared(15).database("client");
        database.fill(20);
        let daemon = Plan::new(Cluster::shared(15), store).database(&database.name).start();
        Self { store, database, daemon }
    }

    /// A client with the address of the daemon, or of a proxy in front of it on this port.
    fn told(&self, client: Cli, port: u16) -> Cli {
        client
            .env("HOME", self.store.root())
            .env("URL", format!("http://127.0.0.1:{port}"))
            .env("REST_API_TOKEN", &self.daemon.token)
            .env("DATABASE", &self.database.name)
            .env("TARGET", format!("{}_copy", self.database.name))
    }

    /// Has a client send what it sends, and sees that it was taken: a setting and a backup, of which the job must succeed.
    #[track_caller]
    fn takes(&self, client: Cli, port: u16, days: &str) {
        let before = self.jobs();
        let outcome = self.told(client, port).env("DAYS", days).run().succeeded();
        let config = self.daemon.get("/config").json();
        assert_eq!(config["config"]["BACKUP_KEEP_DAYS"]["value"], days, "{outcome}");
        let jobs = self.jobs();
        assert_eq!(jobs.len(), before.len() + 1, "{outcome}");
        self.daemon.succeeded(jobs[0]["id"].as_str().unwrap());
        self.store.only_of("daily", &self.database.name);
    }

    fn jobs(&self) -> Vec<Value> {
        self.daemon.get("/jobs").json()["jobs"].as_array().unwrap().clone()
    }
}

/// curl, which does not know how long it is what comes by a pipe.
fn curl(store: &Store) -> Cli {
    const LINES: &str = r#"
        send() { printf %s "$3" | curl -sS --fail-with-body -T - -X "$1" -H "Authorization: Bearer $REST_API_TOKEN" "$URL$2"; }
        send PATCH /config "{\"BACKUP_KEEP_DAYS\":\"$DAYS\"}"
        send POST /backup "{\"databases\":[\"$DATABASE\"]}""#;
    Cli::of_program("/bin/sh", store).args(["-euc", LINES])
}

fn python_stream(scene: &Scene<'_>) -> Cli {
    python(&scene.daemon).args([here("stream.py")])
}

#[test]
fn bodies_that_curl_and_python_stream_are_taken() {
    let store = Store::new();
    let scene = Scene::new(&store);
    scene.takes(curl(&store), scene.daemon.port, "11");
    scene.takes(python_stream(&scene), scene.daemon.port, "12");
}

#[test]
fn a_body_that_node_streams_is_taken() {
    let Some(node) = program("node") else { return };
    let store = Store::new();
    let scene = Scene::new(&store);
    scene.takes(Cli::of_program(node, &store).args([here("stream.mjs")]), scene.daemon.port, "13");
}

#[test]
fn a_body_that_java_streams_is_taken() {
    let (Some(java), Some(_)) = (program("java"), program("javac")) else { return };
    let store = Store::new();
    let scene = Scene::new(&store);
    let java = Cli::of_program(java, &store).args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    scene.takes(java.args([here("Stream.java")]), scene.daemon.port, "14");
}

/// A proxy in front of the daemon, with this file of settings, in which `{port}`, `{daemon}` and `{root}` stand for where it
/// listens, where the daemon does, and its directory. It ends with the value.
fn proxied(scene: &Scene<'_>, proxy: &Path, arguments: &[&str], settings: &str) -> (Running, u16) {
    let (root, port) = (scene.store.root(), free_port());
    let filled = |text: &str| {
        text.replace("{port}", &port.to_string())
            .replace("{daemon}", &scene.daemon.port.to_string())
            .replace("{root}", root.to_str().unwrap())
    };
    fs::write(root.join("proxy.conf"), filled(settings)).unwrap();
    let arguments = arguments.iter().map(|argument| filled(argument));
    let mut running = Cli::of_program(proxy, scene.store).env("HOME", root).args(arguments).start();
    wait_until("the proxy to listen", SOON, || {
        assert!(running.poll().is_none(), "{}", running.text());
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (running, port)
}

/// Everything that a client may want goes through the proxy on this port.
#[track_caller]
fn goes_through(scene: &Scene<'_>, port: u16) {
    scene.takes(curl(scene.store), port, "21");
    scene.takes(python_stream(scene), port, "22");
    if let Some(node) = program("node") {
        scene.takes(Cli::of_program(node, scene.store).args([here("stream.mjs")]), port, "23");
    }
    let bearer = format!("Bearer {}", scene.daemon.token);
    let ask = |method: &str, path: &str, body: Option<&[u8]>, fields: &[(&str, &str)]| {
        let fields = [&[("Authorization", bearer.as_str())], fields].concat();
        exchange(port, &request(method, path, &fields, body))
    };
    let changes = json!({"BACKUP_KEEP_DAYS": "24"}).to_string();
    ask("PATCH", "/config", Some(changes.as_bytes()), &[]).expect(200);
    let newest = scene.store.newest("last");
    let path = format!("/backups/last/{newest}");
    let bytes = fs::read(scene.store.file("last", &newest)).unwrap();
    assert_eq!(ask("GET", &path, None, &[]).expect(200).body, bytes);
    assert_eq!(ask("GET", &path, None, &[("Range", "bytes=7-")]).expect(206).body, bytes[7..]);
    ask("GET", &path, None, &[("If-Match", "\"another\"")]).error(412);
    // Nothing of a request is left over for the next one.
    for _ in 0..20 {
        ask("GET", "/status", None, &[]).expect(200).json();
    }
}

const NGINX: &str = "
daemon off;
pid {root}/pid;
error_log {root}/error.log;
events {}
http {
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    upstream backupgram { server 127.0.0.1:{daemon}; keepalive 4; }
    server {
        listen 127.0.0.1:{port};
        location / {
            proxy_pass http://backupgram;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            BUFFERING
        }
    }
}";

#[test]
fn nginx_may_stand_in_front_whether_it_buffers_or_not() {
    let Some(nginx) = program("nginx") else { return };
    for buffering in ["on", "off"] {
        let store = Store::new();
        let scene = Scene::new(&store);
        let lines = format!("proxy_request_buffering {buffering}; proxy_buffering {buffering};");
        let settings = NGINX.replace("BUFFERING", &lines);
        let arguments = ["-p", "{root}", "-e", "{root}/error.log", "-c", "{root}/proxy.conf"];
        let (_nginx, port) = proxied(&scene, &nginx, &arguments, &settings);
        goes_through(&scene, port);
    }
}

const HAPROXY: &str = "
global
    maxconn 100
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen backupgram
    bind 127.0.0.1:{port}
    http-reuse always
    server backupgram 127.0.0.1:{daemon}
";

#[test]
fn haproxy_may_stand_in_front() {
    let Some(haproxy) = program("haproxy") else { return };
    let store = Store::new();
    let scene = Scene::new(&store);
    let (_haproxy, port) = proxied(&scene, &haproxy, &["-db", "-f", "{root}/proxy.conf"], HAPROXY);
    goes_through(&scene, port);
}

const CADDY: &str = "
{
    admin off
    auto_https off
}
:{port} {
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{daemon}
}
";

#[test]
fn caddy_may_stand_in_front() {
    let Some(caddy) = program("caddy") else { return };
    let store = Store::new();
    let scene = Scene::new(&store);
    let arguments = ["run", "--config", "{root}/proxy.conf", "--adapter", "caddyfile"];
    let (_caddy, port) = proxied(&scene, &caddy, &arguments, CADDY);
    goes_through(&scene, port);
}

/// Asserts that the database was restored under the name that a generated client gave it.
#[track_caller]
fn assert_restored(scene: &Scene<'_>) {
    let (server, copy) = (Cluster::shared(15), format!("{}_copy", scene.database.name));
    assert!(server.dump(&copy) == scene.database.dump());
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
    scene.told(client, scene.daemon.port).run().succeeded().saying("done");
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
    scene.told(client, scene.daemon.port).run().succeeded().saying("done");
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
