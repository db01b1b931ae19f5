//! A server of Telegram's Bot API, as far as a backup's way there and back needs one: it keeps to the answers, errors and
//! limits of the real one, and fails on demand, as does the wire to it.

mod call;
mod form;
mod wire;

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use tiny_http::Server;

use super::guardian;
use call::Call;
use form::Uploaded;
use wire::Wire;

/// The token of the only bot.
pub const TOKEN: &str = "123456789:AAE-fake_token-of_the_tests";
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

    /// What is to go wrong with this call.
    fn next_fault(&mut self, method: &str) -> Option<Fault> {
        self.faults.get_mut(method).filter(|faults| !faults.is_empty()).map(|faults| faults.remove(0))
    }

    fn new_message(&mut self, chat: &str, thread: Option<String>) -> Message {
        self.last_id += 1;
        Message {
            chat: chat.to_owned(),
            id: self.last_id,
            text: String::new(),
            caption: String::new(),
            document: None,
            thread,
        }
    }

    fn add(&mut self, message: Message) -> Value {
        let mut shown = json!({"message_id": message.id, "date": 0, "chat": {"id": message.chat}});
        if let Some((id, name)) = &message.document {
            shown["document"] = json!({"file_id": id, "file_unique_id": id, "file_name": name, "file_size": self.files[id].1});
            if name == "again" {
                let original = self
                    .messages
                    .iter()
                    .find(|other| other.document.as_ref().is_some_and(|(other, _)| other == id));
                shown["document"]["file_name"] =
                    json!(original.and_then(|other| other.document.clone()).map(|(_, name)| name));
            }
        }
        self.messages.push(message);
        shown
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
        let message = Message { document, ..state.new_message(chat, None) };
        state.add(message)["message_id"].as_i64().expect("a number")
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
