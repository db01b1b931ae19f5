//! The overrides of a running daemon, seen from every side that shows them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::client::{Response, request};
use super::daemon::Daemon;
use super::process::Process;
use super::store::Store;

/// The override file of a backup directory; nothing when there is none.
pub fn overrides(store: &Store) -> Option<Vec<u8>> {
    match fs::read(store.path().join(".api-overrides.env")) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("read the override file: {error}"),
    }
}

/// The bytes of the override file that holds these values, and nothing else, as a shell would read them.
pub fn rendered(values: &BTreeMap<String, String>) -> Vec<u8> {
    let lines = values.iter().map(|(key, value)| {
        let quoted: String =
            value.chars().map(|c| if c == '\'' { r"'\''".to_owned() } else { c.to_string() }).collect();
        format!("export {key}='{quoted}'\n")
    });
    lines.collect::<String>().into_bytes()
}

impl Daemon<'_> {
    /// PATCH /config.
    #[track_caller]
    pub fn patch(&self, changes: &Value) -> Response {
        self.patch_text(changes.to_string().as_bytes())
    }

    /// PATCH /config with exactly this body.
    #[track_caller]
    pub fn patch_text(&self, body: &[u8]) -> Response {
        self.send("PATCH", "/config", &[], Some(body))
    }

    /// PATCH /config of a daemon that may be killed meanwhile: the status code, if it came to that.
    pub fn patch_unless_killed(&self, changes: &Value) -> Option<u16> {
        let bearer = format!("Bearer {}", self.token);
        let body = changes.to_string();
        let bytes = request("PATCH", "/config", &[("Authorization", &bearer)], Some(body.as_bytes()));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        stream.write_all(&bytes).ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        std::str::from_utf8(&head[9..]).ok()?.parse().ok()
    }

    /// What GET /config says of every setting.
    #[track_caller]
    pub fn config(&self) -> Value {
        self.get("/config").expect(200).json()["config"].clone()
    }

    /// The schedulers that are children of the daemon now, one that retires among them.
    pub fn schedulers(&self) -> Vec<Process> {
        let pid = self.pid();
        let mut found = Process::descendants(pid);
        found.retain(|process| process.parent == pid && process.name == "go-cron" && process.state != 'Z');
        found
    }

    /// The schedule in the arguments of the scheduler that is in force, once it has got them.
    pub fn running_schedule(&self) -> Option<String> {
        let pid = u32::try_from(self.status()["scheduler"]["pid"].as_u64()?).ok()?;
        argument(pid, "-s")
    }
}

/// The value of an option in the arguments of a process.
pub fn argument(pid: u32, option: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = bytes.split(|byte| *byte == 0);
    words.find(|word| *word == option.as_bytes())?;
    words.next().map(|word| String::from_utf8_lossy(word).into_owned())
}
