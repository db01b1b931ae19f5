//! What Prometheus reads in an answer, by the parser of its Python client.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::daemon::Daemon;

/// Python with the client, where `scripts/test.sh` puts it.
const PYTHON: &str = "/var/tmp/backupgram-python/bin/python";

const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.buffer.read().decode())
print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]] for f in families]))
";

/// A family as the parser tells it: name, type, help, samples.
type Family = (String, String, String, Vec<Sample>);
/// Name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// The samples of one answer.
pub struct Metrics {
    /// The type of each family, by its name as it stands in the answer.
    pub types: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

impl Metrics {
    /// Has a text parsed, and sees that every family says what it is.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut command = Command::new(PYTHON);
        command.env_clear().args(["-B", "-c", PARSE]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("Python is missing: run scripts/test.sh, which fetches it");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("write to the parser");
        let output = child.wait_with_output().expect("read from the parser");
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
        let families: Vec<Family> = serde_json::from_slice(&output.stdout).expect("what the script prints");
        let mut metrics = Self { types: BTreeMap::new(), samples: Vec::new() };
        for (family, kind, help, samples) in families {
            assert!(
                help.ends_with('.') && ["gauge", "counter"].contains(&kind.as_str()),
                "{family}: {kind}, {help}"
            );
            let name = samples.first().unwrap_or_else(|| panic!("{family} has no sample\n{text}")).0.clone();
            // The parser takes the end off a counter's name.
            assert_eq!(name.strip_suffix("_total").is_some(), kind == "counter", "{name}");
            assert!(metrics.types.insert(name, kind).is_none(), "{family} is there twice\n{text}");
            metrics.samples.extend(samples);
        }
        metrics
    }

    /// The value of the sample with exactly these labels; nothing when there is none.
    #[track_caller]
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let has_them = |found: &BTreeMap<String, String>| {
            found.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect::<BTreeMap<_, _>>()
                == wanted
        };
        let mut found = self.samples.iter().filter(|(known, labels, _)| known == name && has_them(labels));
        let value = found.next().map(|(_, _, value)| *value);
        assert!(found.next().is_none(), "{name} {labels:?} is there twice");
        value
    }

    /// The value of that sample, which must be there.
    #[track_caller]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {:#?}", self.samples))
    }

    /// Every value of a label that a family has.
    pub fn values_of(&self, name: &str, label: &str) -> Vec<&str> {
        let samples = self.samples.iter().filter(|(known, _, _)| known == name);
        samples.filter_map(|(_, labels, _)| labels.get(label).map(String::as_str)).collect()
    }
}

impl Daemon<'_> {
    /// What GET /metrics tells.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let response = self.get("/metrics").expect(200);
        assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Metrics::parse(&response.text())
    }
}

/// A number of a JSON answer as a sample has it.
#[track_caller]
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}
