//! A server of Telegram's Bot API, as far as a backup's way there and back needs one: it keeps to the answers, errors and
//! limits of the real one, and fails on demand, as does the wire to it.

mod form;
mod wire;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use tiny_http::{Header, Request, Response, Server};

use super::guardian;
use form::{Form, Uploaded};
use wire::Wire;

/// The token of the only bot.
pub const TOKEN: &str = "123456789:AAE-fake_token-of_the_tests";
/// What a bot may upload to Telegram's own server, and get back from it (Bot API, "sendDocument", "getFile").
const UPLOAD: u64 = 50 << 20;
const DOWNLOAD: u64 = 20 << 20;
/// What both are on a server of one's own (Bot API, "Using a Local Bot API Server").
const OWN_SERVER: u64 = 2000 << 20;
/// The only topic of any chat.
pub const TOPIC: &str = "5";

/// What goes wrong with a method's next calls.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The server has an error of its own.
    Internal,
    /// Too many requests: wait so many seconds.
    Busy(u64),
    /// The group has become a supergroup, of this number.
    Moved(i64),
    /// A file ends in its middle.
    Short,
}

/// A message in a chat.
#[derive(Debug, Clone)]
pub struct Message {
    pub chat: String,
    pub id: i64,
    pub text: String,
    pub caption: String,
    /// The document in it, by its id, and its name.
    pub document: Option<(String, String)>,
    pub thread: Option<String>,
}

#[derive(Default)]
struct State {
    chats: Vec<String>,
    messages: Vec<Message>,
    last_id: i64,
    /// Documents: their file and size.
    files: HashMap<String, (PathBuf, u64)>,
    uploads: usize,
    faults: HashMap<String, Vec<Fault>>,
    busiest: usize,
    at_once: usize,
    /// Whether getFile answers with a path on the disk.
    is_local: bool,
}

impl State {
    /// Keeps a document, and answers its id.
    fn keep(&mut self, file: &Uploaded) -> String {
        let id = format!("file-{}", self.files.len());
        self.files.insert(id.clone(), (file.path.clone(), file.size));
        id
    }
}

/// The server. Its threads end with the test binary.
pub struct BotApi {
    /// On which a client reaches it.
    pub wire: Wire,
    state: Arc<Mutex<State>>,
    files: TempDir,
}

impl BotApi {
    /// A server whose bot is in these chats.
    pub fn start(chats: &[&str]) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").expect("listen"));
        let port = server.server_addr().to_ip().expect("an address").port();
        let files = guardian::directory("telegram-");
        let chats = chats.iter().map(|chat| (*chat).to_owned()).collect();
        let state = Arc::new(Mutex::new(State { chats, ..State::default() }));
        for _ in 0..8 {
            let (server, state) = (Arc::clone(&server), Arc::clone(&state));
            let directory = files.path().to_path_buf();
            thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    Call { state: &state, directory: &directory }.answer(request);
                }
            });
        }
        Self { wire: Wire::to(port), state, files }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// The variables that lead a bot here, as if it were Telegram's own server: by a proxy, so that its limits hold.
    pub fn settings(&self, chats: &str) -> [(&'static str, String); 4] {
        [
            ("TELEGRAM_BOT_TOKEN", TOKEN.to_owned()),
            ("TELEGRAM_CHAT_ID", chats.to_owned()),
            ("TELEGRAM_API_URL", "http://api.telegram.org".to_owned()),
            ("http_proxy", format!("http://127.0.0.1:{}", self.wire.port)),
        ]
    }

    /// The variables that lead a bot here as to a server of one's own. In local mode that tells where on the disk
    /// a file lies.
    pub fn settings_of_own_server(&self, chats: &str, is_local: bool) -> [(&'static str, String); 4] {
        self.lock().is_local = is_local;
        let [token, chats, (url, _), (proxy, _)] = self.settings(chats);
        [token, chats, (url, format!("http://127.0.0.1:{}", self.wire.port)), (proxy, String::new())]
    }

    /// Sends a document of `size` zeros as somebody's, and answers its message.
    pub fn plant(&self, chat: &str, name: &str, size: u64) -> i64 {
        let path = self.files.path().join(name);
        File::create(&path).and_then(|file| file.set_len(size)).expect("make a document");
        let mut state = self.lock();
        let file = Uploaded { path, name: name.to_owned(), size };
        let document = Some((state.keep(&file), file.name));
        let message = Message { document, ..new_message(&mut state, chat, None) };
        add(&mut state, message)["message_id"].as_i64().expect("a number")
    }

    /// Has the next calls of a method fail.
    pub fn fail(&self, method: &str, faults: &[Fault]) {
        self.lock().faults.insert(method.to_owned(), faults.to_vec());
    }

    /// The messages of a chat, oldest first.
    pub fn messages(&self, chat: &str) -> Vec<Message> {
        self.lock().messages.iter().filter(|message| message.chat == chat).cloned().collect()
    }

    /// The bytes of a document.
    pub fn document(&self, id: &str) -> Vec<u8> {
        let path = self.lock().files[id].0.clone();
        fs::read(path).expect("read a document")
    }

    /// Changes a byte of a document.
    pub fn damage(&self, id: &str) {
        let path = self.lock().files[id].0.clone();
        let mut bytes = fs::read(&path).expect("read a document");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("write a document");
    }

    /// How many documents have been uploaded.
    pub fn uploads(&self) -> usize {
        self.lock().uploads
    }

    /// How many uploads there were at once, at most.
    pub fn busiest(&self) -> usize {
        self.lock().busiest
    }
}

struct Call<'a> {
    state: &'a Mutex<State>,
    directory: &'a Path,
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

    fn answer(&self, mut request: Request) {
        // A proxy is asked for the whole URL.
        let (is_telegrams, url) = match request.url().strip_prefix("http://api.telegram.org") {
            Some(url) => (true, url.to_owned()),
            None => (false, request.url().to_owned()),
        };
        if let Some(path) = url.strip_prefix(&format!("/file/bot{TOKEN}/")) {
            return self.send_file(request, path);
        }
        let Some(method) = url.strip_prefix(&format!("/bot{TOKEN}/")).map(String::from) else {
            return respond(
                request,
                401,
                &json!({"ok": false, "error_code": 401, "description": "Unauthorized"}),
            );
        };
        let fault = self
            .lock()
            .faults
            .get_mut(&method)
            .filter(|faults| !faults.is_empty())
            .map(|faults| faults.remove(0));
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
            Err(Refusal(code, description, parameters)) => {
                let mut error = json!({"ok": false, "error_code": code, "description": description});
                if !parameters.is_null() {
                    error["parameters"] = parameters;
                }
                respond(request, code, &error);
            }
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
                let message = Message { text, ..new_message(&mut state, &chat, field("message_thread_id")) };
                Ok(add(&mut state, message))
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
                    ..new_message(&mut state, &chat, field("message_thread_id"))
                };
                Ok(add(&mut state, message))
            }
            "editMessageCaption" => {
                let at = at(&state, number()).ok_or((400, "Bad Request: message to edit not found"))?;
                state.messages[at].caption = field("caption").unwrap_or_default();
                Ok(json!(true))
            }
            "forwardMessage" => {
                let at = at(&state, number()).ok_or((400, "Bad Request: message to forward not found"))?;
                let original = state.messages[at].clone();
                let copy = Message { document: original.document, ..new_message(&mut state, &chat, None) };
                Ok(add(&mut state, copy))
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
            return respond(
                request,
                404,
                &json!({"ok": false, "error_code": 404, "description": "Not Found"}),
            );
        };
        let fault = self
            .lock()
            .faults
            .get_mut("file")
            .filter(|faults| !faults.is_empty())
            .map(|faults| faults.remove(0));
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

fn new_message(state: &mut State, chat: &str, thread: Option<String>) -> Message {
    state.last_id += 1;
    Message {
        chat: chat.to_owned(),
        id: state.last_id,
        text: String::new(),
        caption: String::new(),
        document: None,
        thread,
    }
}

fn add(state: &mut State, message: Message) -> Value {
    let mut shown = json!({"message_id": message.id, "date": 0, "chat": {"id": message.chat}});
    if let Some((id, name)) = &message.document {
        shown["document"] =
            json!({"file_id": id, "file_unique_id": id, "file_name": name, "file_size": state.files[id].1});
        if name == "again" {
            let original = state
                .messages
                .iter()
                .find(|other| other.document.as_ref().is_some_and(|(other, _)| other == id));
            shown["document"]["file_name"] =
                json!(original.and_then(|other| other.document.clone()).map(|(_, name)| name));
        }
    }
    state.messages.push(message);
    shown
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

fn respond(mut request: Request, code: u16, body: &Value) {
    // What was not read of a body must not be taken for the next request.
    let _ = io::copy(request.as_reader(), &mut io::sink());
    let json = Header::from_bytes("Content-Type", "application/json").expect("a header");
    let _ = request.respond(Response::from_string(body.to_string()).with_status_code(code).with_header(json));
}
