//! One call of the Bot API, from its request to its answer.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tiny_http::{Header, Request, Response};

use super::form::{self, Form, Uploaded};
use super::{Fault, Message, State, TOKEN, TOPIC};

/// What a bot may upload to Telegram's own server, and get back from it (Bot API, "sendDocument", "getFile").
const UPLOAD: u64 = 50 << 20;
const DOWNLOAD: u64 = 20 << 20;
/// What both are on a server of one's own (Bot API, "Using a Local Bot API Server").
const OWN_SERVER: u64 = 2000 << 20;

pub struct Call<'a> {
    pub state: &'a Mutex<State>,
    pub directory: &'a Path,
}

/// An error of the API.
struct Refusal(u16, &'static str, Value);

impl From<(u16, &'static str)> for Refusal {
    fn from((code, description): (u16, &'static str)) -> Self {
        Self(code, description, Value::Null)
    }
}

impl Call<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub fn answer(&self, mut request: Request) {
        // A proxy is asked for the whole URL.
        let (is_telegrams, url) = match request.url().strip_prefix("http://api.telegram.org") {
            Some(url) => (true, url.to_owned()),
            None => (false, request.url().to_owned()),
        };
        if let Some(path) = url.strip_prefix(&format!("/file/bot{TOKEN}/")) {
            return self.send_file(request, path);
        }
        let Some(method) = url.strip_prefix(&format!("/bot{TOKEN}/")).map(String::from) else {
            return refuse(request, (401, "Unauthorized").into());
        };
        let fault = self.lock().next_fault(&method);
        let result = match fault {
            Some(Fault::Internal) => Err((500, "Internal Server Error").into()),
            Some(Fault::Busy(seconds)) => {
                Err(Refusal(429, "Too Many Requests: retry after", json!({"retry_after": seconds})))
            }
            Some(Fault::Moved(chat)) => {
                let description = "Bad Request: group chat was upgraded to a supergroup chat";
                Err(Refusal(400, description, json!({"migrate_to_chat_id": chat})))
            }
            Some(Fault::Short) => unreachable!("only files end early"),
            None => self.carry_out(&method, &mut request, is_telegrams),
        };
        match result {
            Ok(result) => respond(request, 200, &json!({"ok": true, "result": result})),
            Err(refusal) => refuse(request, refusal),
        }
    }

    fn carry_out(&self, method: &str, request: &mut Request, is_telegrams: bool) -> Result<Value, Refusal> {
        let (most_up, most_down) = if is_telegrams { (UPLOAD, DOWNLOAD) } else { (OWN_SERVER, OWN_SERVER) };
        let Form { fields, file } = self.form(request)?;
        let field = |name: &str| fields.get(name).cloned();
        let chat = field("chat_id").unwrap_or_default();
        if method != "getFile" && !self.lock().chats.contains(&chat) {
            return Err((400, "Bad Request: chat not found").into());
        }
        if field("message_thread_id").is_some_and(|topic| topic != TOPIC) {
            return Err((400, "Bad Request: message thread not found").into());
        }
        let number = || field("message_id").and_then(|id| id.parse::<i64>().ok()).unwrap_or_default();
        let mut state = self.lock();
        let at = |state: &State, id: i64| {
            state.messages.iter().position(|message| message.chat == chat && message.id == id)
        };
        match method {
            "sendMessage" => {
                let text = field("text").unwrap_or_default();
                check_html(&text)?;
                let message = Message { text, ..state.new_message(&chat, field("message_thread_id")) };
                Ok(state.add(message))
            }
            "sendDocument" => {
                let (id, name) = match (file, field("document")) {
                    (Some(Uploaded { size: 0, .. }), _) => {
                        return Err((400, "Bad Request: file must be non-empty").into());
                    }
                    (Some(file), _) if file.size > most_up => {
                        return Err((413, "Request Entity Too Large").into());
                    }
                    (Some(file), _) => {
                        state.uploads += 1;
                        (state.keep(&file), file.name)
                    }
                    (None, Some(id)) if state.files.contains_key(&id) => (id, "again".to_owned()),
                    _ => return Err((400, "Bad Request: wrong file identifier/HTTP URL specified").into()),
                };
                let message = Message {
                    caption: field("caption").unwrap_or_default(),
                    document: Some((id, name)),
                    ..state.new_message(&chat, field("message_thread_id"))
                };
                Ok(state.add(message))
            }
            "editMessageCaption" => {
                let at = at(&state, number()).ok_or((400, "Bad Request: message to edit not found"))?;
                state.messages[at].caption = field("caption").unwrap_or_default();
                Ok(json!(true))
            }
            "forwardMessage" => {
                let at = at(&state, number()).ok_or((400, "Bad Request: message to forward not found"))?;
                let original = state.messages[at].clone();
                let copy = Message { document: original.document, ..state.new_message(&chat, None) };
                Ok(state.add(copy))
            }
            "deleteMessage" => {
                let at = at(&state, number()).ok_or((400, "Bad Request: message to delete not found"))?;
                state.messages.remove(at);
                Ok(json!(true))
            }
            "getFile" => {
                let id = field("file_id").unwrap_or_default();
                let (path, size) = state.files.get(&id).ok_or((400, "Bad Request: wrong file_id"))?;
                if *size > most_down {
                    return Err((400, "Bad Request: file is too big").into());
                }
                let path = match state.is_local {
                    true => path.display().to_string(),
                    false => format!("documents/{id}"),
                };
                Ok(json!({"file_id": id, "file_size": size, "file_path": path}))
            }
            _ => Err((404, "Not Found").into()),
        }
    }

    /// What a call brings, as a form or as JSON.
    fn form(&self, request: &mut Request) -> Result<Form, Refusal> {
        let header = request.headers().iter().find(|header| header.field.equiv("Content-Type"));
        let kind = header.map(|header| header.value.as_str().to_owned()).unwrap_or_default();
        let Some((_, boundary)) = kind.split_once("boundary=") else {
            let body: Value =
                serde_json::from_reader(request.as_reader()).map_err(|_| (400, "Bad Request: no JSON"))?;
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
            let fields = body.as_object().ok_or((400, "Bad Request: no object"))?;
            let fields = fields.iter().map(|(name, value)| (name.clone(), text(value))).collect();
            return Ok(Form { fields, file: None });
        };
        let number = {
            let mut state = self.lock();
            state.at_once += 1;
            state.busiest = state.busiest.max(state.at_once);
            state.last_id += 1;
            state.last_id
        };
        let path = self.directory.join(format!("upload-{number}"));
        let length = request.body_length().unwrap_or_default();
        let form = form::read(request.as_reader(), boundary, length, &path);
        self.lock().at_once -= 1;
        form.map_err(|_| (400, "Bad Request: the form breaks off").into())
    }

    fn send_file(&self, request: Request, path: &str) {
        let id = path.trim_start_matches("documents/");
        let Some((path, _)) = self.lock().files.get(id).cloned() else {
            return refuse(request, (404, "Not Found").into());
        };
        let fault = self.lock().next_fault("file");
        let range = request.headers().iter().find(|header| header.field.equiv("Range"));
        let from: u64 = range
            .and_then(|range| range.value.as_str().strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            .unwrap_or(0);
        let mut file = File::open(path).expect("open a document");
        let rest = file.metadata().expect("its size").len() - from;
        file.seek(SeekFrom::Start(from)).expect("a place in it");
        let sent = if fault.is_some() { rest / 2 } else { rest };
        let length = usize::try_from(sent).expect("a size");
        let status = if from > 0 { 206 } else { 200 };
        let response = Response::new(status.into(), Vec::new(), file.take(sent), Some(length), None);
        let _ = request.respond(response.with_chunked_threshold(usize::MAX));
    }
}

/// Refuses what Telegram cannot parse, as it does.
fn check_html(text: &str) -> Result<(), Refusal> {
    let mut open: Vec<String> = Vec::new();
    for tag in text.split('<').skip(1) {
        let (name, _) =
            tag.split_once('>').ok_or((400, "Bad Request: can't parse entities: unclosed start tag"))?;
        match name.strip_prefix('/') {
            Some(name) if open.last().is_some_and(|last| last == name) => drop(open.pop()),
            None if ["b", "i", "code", "pre"].contains(&name) => open.push(name.to_owned()),
            _ => return Err((400, "Bad Request: can't parse entities: unsupported tag").into()),
        }
    }
    let is_entity = |rest: &str| ["amp;", "lt;", "gt;"].iter().any(|name| rest.starts_with(name));
    match open.is_empty() && text.split('&').skip(1).all(is_entity) && text.chars().count() <= 4096 {
        true => Ok(()),
        false => Err((400, "Bad Request: can't parse entities").into()),
    }
}

fn refuse(request: Request, Refusal(code, description, parameters): Refusal) {
    let mut error = json!({"ok": false, "error_code": code, "description": description});
    if !parameters.is_null() {
        error["parameters"] = parameters;
    }
    respond(request, code, &error);
}

fn respond(mut request: Request, code: u16, body: &Value) {
    // What was not read of a body must not be taken for the next request.
    let _ = io::copy(request.as_reader(), &mut io::sink());
    let json = Header::from_bytes("Content-Type", "application/json").expect("a header");
    let _ = request.respond(Response::from_string(body.to_string()).with_status_code(code).with_header(json));
}
