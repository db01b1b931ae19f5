//! The body of a webhook, in the format that its receiver documents.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::event::Event;
use crate::settings::WebhookFormat;

/// The most UTF-16 units of a message that Discord takes (its documentation says 2,000 characters).
const DISCORD: usize = 2000;
/// The same of a message that is kept short for others: ntfy makes a file of more than 4,096 bytes, Teams takes 28 KiB.
const OTHERS: usize = 1000;

/// A message about a run.
#[derive(Debug)]
pub struct Message<'a> {
    /// What has happened.
    pub event: &'a Event<'a>,
    /// The container's name.
    pub hostname: String,
    /// When it happened.
    pub time: Timestamp,
    /// The user's label.
    pub project: &'a str,
}

/// As the original image sends it; `error` is ours.
#[derive(Serialize)]
struct Fields<'a> {
    status: &'a str,
    hostname: &'a str,
    timestamp: String,
    database: String,
    project: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// The body of a request, and the fields of its head that it needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    /// Name and value each; ASCII.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: String,
}

impl Message<'_> {
    /// What is sent in this format.
    pub fn content(&self, format: WebhookFormat) -> Content {
        let of_json = |body: String| (vec![("Content-Type", "application/json")], body);
        let of_text =
            |length| (vec![("Content-Type", "text/plain; charset=utf-8")], cut(self.text(), length));
        let (headers, body) = match format {
            WebhookFormat::Json => of_json(self.fields()),
            WebhookFormat::Slack => {
                of_json(json!({"text": escaped_for_slack(&cut(self.text(), OTHERS))}).to_string())
            }
            WebhookFormat::Discord => {
                // A name of a database must not mention a user.
                let mentions = json!({"parse": []});
                let text = cut(self.text(), DISCORD);
                of_json(json!({"content": text, "allowed_mentions": mentions}).to_string())
            }
            WebhookFormat::Teams => of_json(adaptive_card(&cut(self.text(), OTHERS)).to_string()),
            WebhookFormat::Ntfy => {
                let (mut headers, body) = of_text(OTHERS);
                headers.push(("Title", self.title()));
                if matches!(self.event, Event::Failed { .. }) {
                    headers.push(("Priority", "high"));
                }
                (headers, body)
            }
            WebhookFormat::Text => of_text(OTHERS),
        };
        Content { headers, body }
    }

    fn fields(&self) -> String {
        let fields = Fields {
            status: self.event.status(),
            hostname: &self.hostname,
            timestamp: self.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            database: self.event.databases().join(","),
            project: self.project,
            error: self.event.error(),
        };
        serde_json::to_string(&fields).unwrap_or_default()
    }

    fn title(&self) -> &'static str {
        match self.event {
            Event::Started { .. } => "Backup started",
            Event::Succeeded { .. } => "Backup succeeded",
            Event::Failed { .. } => "Backup failed",
        }
    }

    /// The message as a line for people.
    fn text(&self) -> String {
        let databases = self.event.databases().join(", ");
        let place = if self.project.is_empty() { &self.hostname } else { self.project };
        let mut text = format!("{} on {place}", self.title());
        if !databases.is_empty() {
            text += &format!(" ({databases})");
        }
        match self.event.error() {
            Some(error) => format!("{text}: {error}"),
            None => text,
        }
    }
}

/// The text with the three characters escaped that mean something to Slack, as its documentation has it.
fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A message of one card, as the workflows of Teams take it.
fn adaptive_card(text: &str) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [{"type": "TextBlock", "text": text, "wrap": true}],
            },
        }],
    })
}

/// The text, with an ellipsis at its end where it has more than so many UTF-16 units.
fn cut(text: String, most: usize) -> String {
    if text.encode_utf16().count() <= most {
        return text;
    }
    let mut length = 1;
    let fits = |letter: &char| {
        length += letter.len_utf16();
        length <= most
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('\u{2026}');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(event: &Event, format: WebhookFormat) -> Content {
        let time = Timestamp::from_second(1_776_349_800).unwrap();
        Message { event, hostname: "h0st".into(), time, project: "" }.content(format)
    }

    #[test]
    fn the_object_is_that_of_the_original() {
        let databases = ["a".to_owned(), "b".to_owned()];
        let body = |event: Event| content(&event, WebhookFormat::Json).body;
        let rest = r#""hostname":"h0st","timestamp":"2026-04-16T14:30:00Z""#;
        let started = body(Event::Started { databases: &databases });
        assert_eq!(started, format!(r#"{{"status":"pre-backup",{rest},"database":"a,b","project":""}}"#));
        let failed = body(Event::Failed { error: "no \"x\"", databases: &[] });
        let error = r#""database":"","project":"","error":"no \"x\"""#;
        assert_eq!(failed, format!(r#"{{"status":"error",{rest},{error}}}"#));
        assert!(body(Event::Succeeded { databases: &[] }).contains(r#""status":"post-backup""#));
    }

    #[test]
    fn slack_gets_its_three_characters_escaped_and_nobody_is_called_on_discord() {
        let event = Event::Failed { error: "<!channel> & @everyone", databases: &[] };
        let json = |format| serde_json::from_str::<Value>(&content(&event, format).body).unwrap();
        let slack = json(WebhookFormat::Slack);
        assert_eq!(slack, json!({"text": "Backup failed on h0st: &lt;!channel&gt; &amp; @everyone"}));
        let discord = json(WebhookFormat::Discord);
        assert_eq!(discord["content"], "Backup failed on h0st: <!channel> & @everyone");
        assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
    }

    #[test]
    fn a_long_message_is_cut_between_characters_to_what_the_receiver_takes() {
        for letter in ["x", "\u{e4}", "\u{1f418}"] {
            let error = letter.repeat(5000);
            let event = Event::Failed { error: &error, databases: &[] };
            let discord: Value = serde_json::from_str(&content(&event, WebhookFormat::Discord).body).unwrap();
            let text = discord["content"].as_str().unwrap();
            assert!((1998..=2000).contains(&text.encode_utf16().count()) && text.ends_with('\u{2026}'));
            let ntfy = content(&event, WebhookFormat::Ntfy);
            assert!(ntfy.body.len() <= 4096 && ntfy.headers.contains(&("Title", "Backup failed")));
            let whole: Value = serde_json::from_str(&content(&event, WebhookFormat::Json).body).unwrap();
            assert_eq!(whole["error"], error.as_str());
        }
        assert_eq!(cut("abc".into(), 3), "abc");
    }
}
