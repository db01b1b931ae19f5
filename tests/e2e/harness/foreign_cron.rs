//! Other schedulers than ours, as GOCRON_BIN may name them.

use std::path::PathBuf;

use super::store::{Store, write_script};

/// Behaves like prodrigestivill/go-cron v0.0.11: on TERM or INT it plans no more runs, but keeps its port until the run
/// that goes on has ended; HUP is the end of it. It cannot start with the schedule that `FOREIGN_BREAKS_ON` or
/// `FOREIGN_BREAKS_SLOWLY_ON` names, nor when its port is taken.
const FOREIGN: &str = r#"#!/usr/bin/python3
import os, sys, time

options, command = sys.argv[1:sys.argv.index('--')], sys.argv[sys.argv.index('--') + 1:]
schedule = options[options.index('-s') + 1]
port = int(options[options.index('-p') + 1])
if schedule == os.environ.get('FOREIGN_BREAKS_ON'):
    sys.exit(1)
if schedule == os.environ.get('FOREIGN_BREAKS_SLOWLY_ON'):
    time.sleep(0.8)
    sys.exit(1)

import json, re, signal, subprocess, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

last = 0
busy = threading.Lock()
stopping = False

def run():
    global last
    if busy.acquire(blocking=False):
        try:
            last = subprocess.call(command)
        finally:
            busy.release()

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        body = json.dumps({'Running': {}, 'Last': {'Exit_status': last}, 'Schedule': schedule}).encode()
        self.send_response(503 if last else 200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

def tick(seconds):
    while not stopping:
        time.sleep(seconds)
        threading.Thread(target=run).start()

def stop(*_):
    global stopping
    stopping = True

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
if port:
    server = ThreadingHTTPServer(('', port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
if '-i' in options:
    first = threading.Thread(target=run)
    first.start()
every = re.fullmatch(r'@every (\d+)s', schedule)
if every:
    threading.Thread(target=tick, args=(int(every[1]),), daemon=True).start()
# A signal that another thread gets wakes nothing that the main thread waits for.
while not stopping:
    time.sleep(0.02)
if '-i' in options:
    first.join()
with busy:
    os._exit(0)
"#;

/// The foreign scheduler.
pub fn foreign_scheduler(store: &Store) -> String {
    script(store, FOREIGN)
}

/// A scheduler that cannot start at all.
pub fn broken_scheduler(store: &Store) -> String {
    script(store, "#!/bin/sh\necho 'no scheduling today'\nexit 1\n")
}

fn script(store: &Store, text: &str) -> String {
    let directory: PathBuf = store.root().join("foreign");
    std::fs::create_dir_all(&directory).expect("make a directory");
    let path = directory.join("go-cron");
    write_script(&path, text);
    path.to_str().expect("UTF-8").to_owned()
}
