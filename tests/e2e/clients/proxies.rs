//! Proxies in front of the daemon, which take what is in clear and what comes by TLS.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Scene, curl, java_stream, node_stream, program, python_stream};
use crate::harness::cluster::free_port;
use crate::harness::command::Running;
use crate::harness::*;

/// A proxy in front of the daemon. It ends with the value.
struct Proxy<'p> {
    scene: &'p Scene<'p>,
    _running: Running,
    /// Where it takes what is in clear.
    port: u16,
    /// Where it takes TLS.
    secure: String,
}

/// Starts a proxy with this file of settings, in which `{port}` and `{secure}` stand for where it listens in clear and with TLS,
/// `{daemon}` for where the daemon does, and `{root}` for its directory with the [`certificates`].
fn proxied<'p>(scene: &'p Scene<'p>, proxy: &Path, arguments: &[&str], settings: &str) -> Proxy<'p> {
    let (root, port, secure) = (scene.store.root(), free_port(), free_port());
    let filled = |text: &str| {
        text.replace("{port}", &port.to_string())
            .replace("{secure}", &secure.to_string())
            .replace("{daemon}", &scene.daemon.port.to_string())
            .replace("{root}", root.to_str().unwrap())
    };
    certificates(scene.store);
    fs::write(root.join("proxy.conf"), filled(settings)).unwrap();
    let arguments = arguments.iter().map(|argument| filled(argument));
    let mut running = Cli::of_program(proxy, scene.store).env("HOME", root).args(arguments).start();
    wait_until("the proxy to listen", SOON, || {
        assert!(running.poll().is_none(), "{}", running.text());
        [port, secure].into_iter().all(|port| TcpStream::connect(("127.0.0.1", port)).is_ok())
    });
    Proxy { scene, _running: running, port, secure: format!("https://localhost:{secure}") }
}

const CERTIFICATES: &str = "
[req]
prompt = no
distinguished_name = name
[name]
CN = localhost
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1
";

/// Makes the certificate of an authority, and by it one for this machine: `ca.pem`, `leaf.pem`, `leaf.key`, and the last two in
/// `pair.pem`.
fn certificates(store: &Store) {
    let root = store.root();
    fs::write(root.join("certificates.conf"), CERTIFICATES).unwrap();
    let make = |name: &str, more: &[&str]| {
        let [key, certificate] = ["key", "pem"].map(|kind| format!("{name}.{kind}"));
        Cli::of_program("openssl", store)
            .args(["req", "-x509", "-config", "certificates.conf", "-days", "2", "-noenc"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-keyout", &key, "-out", &certificate])
            .args(more)
            .run()
            .succeeded();
    };
    make("ca", &["-extensions", "authority", "-subj", "/CN=an authority"]);
    make("leaf", &["-extensions", "leaf", "-CA", "ca.pem", "-CAkey", "ca.key"]);
    let pair = ["leaf.pem", "leaf.key"].map(|name| fs::read_to_string(root.join(name)).unwrap());
    fs::write(root.join("pair.pem"), pair.concat()).unwrap();
}

/// What Java is told to trust that authority alone.
fn trust_of_java(store: &Store) -> Option<[String; 2]> {
    const PASSWORD: &str = "changeit";
    Cli::of_program(program("keytool")?, store)
        .args(["-J-XX:TieredStopAtLevel=1", "-importcert", "-noprompt", "-file", "ca.pem", "-alias", "ca"])
        .args(["-keystore", "trust.p12", "-storetype", "PKCS12", "-storepass", PASSWORD])
        .run()
        .succeeded();
    let path = store.root().join("trust.p12");
    let option = |name: &str, value: &str| format!("-Djavax.net.ssl.{name}={value}");
    Some([option("trustStore", path.to_str().unwrap()), option("trustStorePassword", PASSWORD)])
}

impl Proxy<'_> {
    /// Everything that a client may want goes through, in clear and by TLS.
    #[track_caller]
    fn lets_everything_through(&self) {
        self.lets_through_in_clear();
        self.lets_through_by_tls();
        // The clients are on this machine.
        let log = self.scene.daemon.log();
        for request in ["PATCH /config 200 ", "POST /backup 202 "] {
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(request)).collect();
            assert!(lines.len() >= 4, "{log}");
            assert!(lines.iter().all(|line| line.ends_with(" 127.0.0.1 for \"127.0.0.1\"")), "{lines:#?}");
        }
    }

    #[track_caller]
    fn lets_through_in_clear(&self) {
        let Self { scene, port, .. } = *self;
        let url = format!("http://127.0.0.1:{port}");
        scene.takes(curl(scene.store), &url, "21");
        scene.takes(python_stream(scene), &url, "22");
        if let Some(node) = node_stream(scene.store) {
            scene.takes(node, &url, "23");
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

    /// The same by TLS, and by HTTP/2 where the client has that.
    #[track_caller]
    fn lets_through_by_tls(&self) {
        let Self { scene, secure, .. } = self;
        let (store, authority) = (scene.store, scene.store.root().join("ca.pem"));
        // Who does not know the authority sends nothing.
        scene.told(curl(store), secure).env("DAYS", "30").run().exited_with(60);
        let outcome = scene.takes(curl(store).env("CA", &authority), secure, "31");
        assert_eq!(outcome.stdout.matches("by HTTP/2\n").count(), 2, "{outcome}");
        scene.takes(python_stream(scene).env("REQUESTS_CA_BUNDLE", &authority), secure, "32");
        if let Some(node) = node_stream(store) {
            scene.takes(node.env("NODE_EXTRA_CA_CERTS", &authority), secure, "33");
        }
        let trust = trust_of_java(store);
        if let Some(java) = trust.and_then(|trust| java_stream(store, &trust)) {
            let outcome = scene.takes(java, secure, "34");
            assert_eq!(outcome.stdout.matches("by HTTP_2\n").count(), 2, "{outcome}");
        }
        self.answers_by_http_2(&authority);
    }

    /// A backup, a part of it and many requests at a time come whole over one connection.
    #[track_caller]
    fn answers_by_http_2(&self, authority: &Path) {
        const LINES: &str = r#"
            ask() { curl -sS --fail --cacert "$CA" -H "Authorization: Bearer $REST_API_TOKEN" "$@"; }
            ask -o whole "$URL/backups/last/$NAME"
            ask -o part -r 7- "$URL/backups/last/$NAME"
            ask -Z -o 'status-#1' -w '%{http_version} %{http_code}\n' "$URL/status#[1-20]"
            ask -o refused -w '%{http_code}\n' -H 'If-Match: "another"' "$URL/backups/last/$NAME" || :"#;
        let Self { scene, secure, .. } = self;
        let (store, newest) = (scene.store, scene.store.newest("last"));
        let client = Cli::of_program("/bin/sh", store).args(["-euc", LINES]).env("CA", authority);
        let outcome = scene.told(client, secure).env("NAME", &newest).run().succeeded();
        assert_eq!(outcome.stdout, format!("{}412\n", "2 200\n".repeat(20)), "{outcome}");
        let read = |name: &str| fs::read(store.root().join(name)).unwrap();
        let bytes = fs::read(store.file("last", &newest)).unwrap();
        assert!(read("whole") == bytes && read("part") == bytes[7..]);
        for number in 1..=20 {
            let status: serde_json::Value =
                serde_json::from_slice(&read(&format!("status-{number}"))).unwrap();
            assert!(status["last_backup"].is_object(), "{status}");
        }
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
        listen 127.0.0.1:{secure} ssl http2;
        ssl_certificate {root}/leaf.pem;
        ssl_certificate_key {root}/leaf.key;
        location / {
            proxy_pass http://backupgram;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            BUFFERING
        }
    }
}";

#[test]
fn nginx_may_stand_in_front_whether_it_buffers_or_not() {
    let Some(nginx) = program("nginx") else { return };
    for buffering in ["on", "off"] {
        let store = Store::new();
        let scene = Scene::with_databases(&store, 4);
        let lines = format!("proxy_request_buffering {buffering}; proxy_buffering {buffering};");
        let settings = NGINX.replace("BUFFERING", &lines);
        let arguments = ["-p", "{root}", "-e", "{root}/error.log", "-c", "{root}/proxy.conf"];
        proxied(&scene, &nginx, &arguments, &settings).lets_everything_through();
    }
}

const HAPROXY: &str = "
global
    maxconn 100
defaults
    mode http
    option forwardfor
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen backupgram
    bind 127.0.0.1:{port}
    bind 127.0.0.1:{secure} ssl crt {root}/pair.pem alpn h2,http/1.1
    http-reuse always
    server backupgram 127.0.0.1:{daemon}
";

#[test]
fn haproxy_may_stand_in_front() {
    let Some(haproxy) = program("haproxy") else { return };
    let store = Store::new();
    let scene = Scene::with_databases(&store, 4);
    proxied(&scene, &haproxy, &["-db", "-f", "{root}/proxy.conf"], HAPROXY).lets_everything_through();
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

/// The settings of Caddy in the example for TLS, with a certificate that is there and our addresses.
fn caddy_of_the_example() -> String {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "examples/docker-compose.caddy-tls.yml"].iter().collect();
    let example = fs::read_to_string(path).unwrap();
    let settings = example.lines().skip_while(|line| !line.starts_with("      ${BACKUP_DOMAIN:?"));
    let settings: Vec<&str> = settings.take_while(|line| line.starts_with("      ")).collect();
    let [site, rest @ ..] = &settings[..] else { panic!("there is no site in it") };
    assert!(site.ends_with('{'), "{site}");
    let ours = "https://localhost:{secure} {\nbind 127.0.0.1\ntls {root}/leaf.pem {root}/leaf.key\n";
    assert_eq!(rest.join("\n").matches("backup:8081").count(), 1, "{settings:#?}");
    format!("{ours}{}\n", rest.join("\n").replace("backup:8081", "127.0.0.1:{daemon}"))
}

#[test]
fn caddy_may_stand_in_front_as_the_example_has_it() {
    let Some(caddy) = program("caddy") else { return };
    let store = Store::new();
    let scene = Scene::with_databases(&store, 4);
    let arguments = ["run", "--config", "{root}/proxy.conf", "--adapter", "caddyfile"];
    let settings = format!("{CADDY}{}", caddy_of_the_example());
    proxied(&scene, &caddy, &arguments, &settings).lets_everything_through();
}
