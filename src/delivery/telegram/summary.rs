//! The summary of a run, in the subset of HTML that Telegram takes.

use crate::delivery::hostname::hostname;
use crate::store::records::{DatabaseReport, Outcome, Report};
use crate::util::units;

/// The most characters of an error that are sent.
const LONGEST_ERROR: usize = 600;
/// Telegram takes 4096 characters; some are left for the rest.
const LONGEST: usize = 3500;

/// The summary of a run. `previous` is the report of the run before it, `undelivered` what did not reach Telegram.
pub fn text(report: &Report, previous: Option<&Report>, undelivered: &[String], project: &str) -> String {
    let project = if project.is_empty() { String::new() } else { format!("{} on ", escape(project)) };
    let title = match report.status {
        Outcome::Ok => "\u{2705} <b>Backup succeeded</b>",
        Outcome::Failed => "\u{274c} <b>Backup failed</b>",
    };
    let mut lines =
        vec![format!("{title}\n{project}{}, {:.1} s", escape(&hostname()), report.duration_seconds)];
    if !report.error.is_empty() {
        lines.push(format!("<pre>{}</pre>", escape(end(&report.error))));
    }
    let mut length: usize = lines.iter().map(|line| line.chars().count()).sum();
    for (at, database) in report.databases.iter().enumerate() {
        let line = of_database(database, previous, &report.error);
        length += line.chars().count();
        if length > LONGEST {
            lines.push(format!("and {} more", report.databases.len() - at));
            break;
        }
        lines.push(line);
    }
    lines.extend(report.held().iter().map(|reason| format!("\u{26a0} {}", escape(end(reason)))));
    if !undelivered.is_empty() {
        lines.push(format!("\u{26a0} not delivered: {}", escape(end(&undelivered.join("; ")))));
    }
    lines.join("\n")
}

fn of_database(database: &DatabaseReport, previous: Option<&Report>, said: &str) -> String {
    let name = escape(&database.name);
    let size = database
        .size
        .map(|size| format!(", {}{}", units::bytes(size), change(size, &database.name, previous)));
    let error = match database.error.as_str() {
        "" => String::new(),
        error if error == said => String::new(),
        error => format!("\n<pre>{}</pre>", escape(end(error))),
    };
    let mark = if database.state == Outcome::Ok { "\u{2022}" } else { "\u{2717}" };
    format!("{mark} <code>{name}</code>{}{error}", size.unwrap_or_default())
}

/// How a size has changed since the run before.
fn change(size: u64, name: &str, previous: Option<&Report>) -> String {
    let before =
        previous.and_then(|report| report.databases.iter().find(|database| database.name == name)?.size);
    match before.filter(|before| *before > 0) {
        None => String::new(),
        Some(before) if before == size => " (as before)".into(),
        Some(before) => {
            let difference = size.abs_diff(before);
            let percent = u128::from(difference) * 1000 / u128::from(before);
            let sign = if size > before { '+' } else { '\u{2212}' };
            format!(" ({sign}{}, {sign}{}.{} %)", units::bytes(difference), percent / 10, percent % 10)
        }
    }
}

/// The end of an error, which has the cause.
fn end(text: &str) -> &str {
    let start = text.char_indices().rev().nth(LONGEST_ERROR - 1).map_or(0, |(at, _)| at);
    &text[start..]
}

/// Text that arrives as it was written (Bot API, "HTML style").
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn report(databases: Vec<DatabaseReport>, error: Option<&str>) -> Report {
        Report::of_run(Instant::now(), databases, &[], error.map(String::from))
    }

    #[test]
    fn names_arrive_as_they_are_written_with_sizes_and_how_they_changed() {
        let published = |size| DatabaseReport::published("my_db*[x]<b>&", "last/x".into(), size);
        let text = text(
            &report(vec![published(1500)], None),
            Some(&report(vec![published(1000)], None)),
            &[],
            "a<b",
        );
        assert!(text.contains("<code>my_db*[x]&lt;b&gt;&amp;</code>, 1.5 KiB (+500 B, +50.0 %)"), "{text}");
        assert!(text.contains("<b>Backup succeeded</b>\na&lt;b on "), "{text}");
    }

    #[test]
    fn a_failure_says_its_reason_once_and_long_ones_from_their_end() {
        let long = format!("{}the reason", "x".repeat(5000));
        let failed = vec![DatabaseReport::failed("a", "no server"), DatabaseReport::failed("b", long)];
        let text =
            text(&report(failed, Some("no server")), None, &["cannot send last/a to chat 5".into()], "");
        assert!(text.contains("<b>Backup failed</b>") && text.contains("the reason</pre>"), "{text}");
        assert_eq!(text.matches("no server").count(), 1, "{text}");
        assert!(text.contains("not delivered: cannot send last/a") && text.chars().count() < 4096, "{text}");
    }

    #[test]
    fn a_hundred_databases_still_make_one_message() {
        let many = (0..500)
            .map(|number| DatabaseReport::published(&format!("database_{number}"), "last/x".into(), 5));
        let text = text(&report(many.collect(), None), None, &[], "");
        assert!(text.chars().count() < 4096 && text.contains(" more"), "{}", text.len());
    }
}
