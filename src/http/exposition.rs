//! Writes the text format of Prometheus, version 0.0.4: families of samples with help and type.
//!
//! Names, types and help come from the code and are not escaped; values of labels may be anything.

use std::fmt::{Display, Write as _};

/// The media type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A family that is being written. One without samples is left out.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    is_begun: bool,
}

impl Exposition {
    /// Begins a gauge.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { text: &mut self.0, name, kind: "gauge", help, is_begun: false }
    }

    /// Begins a counter. Its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        Family { text: &mut self.0, name, kind: "counter", help, is_begun: false }
    }

    /// The text of the page.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample with these labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let Self { text, name, kind, help, is_begun } = self;
        // Writing to a string cannot fail.
        if !std::mem::replace(is_begun, true) {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        text.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(text, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
    }

    /// Adds the only sample of the family, if there is one.
    pub fn value(mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.sample(&[], value);
        }
    }

    /// Adds samples that differ in one label.
    pub fn by<'v, V: Display>(mut self, label: &str, values: impl IntoIterator<Item = (&'v str, V)>) {
        for (named, value) in values {
            self.sample(&[(label, named)], value);
        }
    }
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_says_what_it_is_once_before_its_samples() {
        let mut page = Exposition::default();
        page.gauge("free_bytes", "What is free.").value(Some(7_u64));
        page.gauge("took_seconds", "How long it took.").by("database", [("a", 1.25), ("b", 0.0)]);
        let mut jobs = page.counter("jobs_total", "Jobs.");
        jobs.sample(&[("type", "backup"), ("result", "failed")], 3);
        assert_eq!(
            page.into_text(),
            "# HELP free_bytes What is free.\n# TYPE free_bytes gauge\nfree_bytes 7\n\
             # HELP took_seconds How long it took.\n# TYPE took_seconds gauge\n\
             took_seconds{database=\"a\"} 1.25\ntook_seconds{database=\"b\"} 0\n\
             # HELP jobs_total Jobs.\n# TYPE jobs_total counter\n\
             jobs_total{type=\"backup\",result=\"failed\"} 3\n"
        );
    }

    #[test]
    fn a_family_without_a_value_is_left_out() {
        let mut page = Exposition::default();
        page.gauge("last", "The last one.").value(None::<i64>);
        page.gauge("each", "Each.").by("database", [] as [(&str, i64); 0]);
        assert_eq!(page.into_text(), "");
    }

    #[test]
    fn no_value_of_a_label_gets_out_of_its_quotes() {
        let mut page = Exposition::default();
        page.gauge("x", "X.").by("database", [("a\"} 1\nb\\n{é", 2)]);
        let text = page.into_text();
        assert_eq!(text.lines().last(), Some(r#"x{database="a\"} 1\nb\\n{é"} 2"#));
    }
}
