//! The health port: answers every GET with the record of the runs.
//!
//! It must answer while a run goes on and while a client says nothing or reads nothing, so every
//! connection and every answer has a thread of its own.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use tiny_http::{Header, Method, Request, Response, Server};

use super::record::Record;

/// The open port. It stays open until it is closed or the process ends.
#[derive(Debug)]
pub struct HealthPort {
    listener: TcpListener,
}

impl HealthPort {
    /// Opens the port on every address of the machine, and answers there from now on.
    ///
    /// # Errors
    /// When the port cannot be had, because another program has it for example.
    pub fn open(port: u16, record: Arc<Record>) -> io::Result<Self> {
        let (server, listener) = listen(port)?;
        thread::Builder::new().name("health".into()).spawn(move || serve(&server, &record))?;
        Ok(Self { listener })
    }

    /// Stops listening: when this returns, another process can have the port. Connections that are open
    /// already are still answered.
    pub fn close(&self) {
        // shutdown(2) on a listening socket ends the listening at once, which dropping a copy of it
        // does not. The standard library has it for streams only.
        if let Ok(copy) = self.listener.try_clone() {
            let _ = TcpStream::from(OwnedFd::from(copy)).shutdown(Shutdown::Both);
        }
    }
}

/// The one place where a listener is opened.
fn listen(port: u16) -> io::Result<(Server, TcpListener)> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let server = Server::from_listener(listener.try_clone()?, None).map_err(io::Error::other)?;
    Ok((server, listener))
}

fn serve(server: &Server, record: &Arc<Record>) {
    loop {
        match server.recv() {
            Ok(request) => {
                let record = Arc::clone(record);
                // Without a thread the request is dropped, which tiny_http answers with status 500.
                let _ = thread::Builder::new().spawn(move || answer(request, &record));
            }
            // The port was closed; what is connected is answered still.
            Err(error) => log::debug!("health port: {error}"),
        }
    }
}

fn answer(request: Request, record: &Record) {
    if !matches!(request.method(), Method::Get | Method::Head) {
        let refusal = Response::from_string("{\"error\":\"only GET is answered here\"}\n");
        let allow = Header::from_bytes("Allow", "GET, HEAD");
        respond(request, refusal.with_status_code(405), allow.ok());
        return;
    }
    let report = record.report();
    let status = if report.healthy { 200 } else { 503 };
    respond(request, Response::from_string(report.json + "\n").with_status_code(status), None);
}

fn respond(request: Request, response: Response<io::Cursor<Vec<u8>>>, header: Option<Header>) {
    // tiny_http would send a long answer in chunks, without its length.
    let mut response = response.with_chunked_threshold(usize::MAX);
    let json = Header::from_bytes("Content-Type", "application/json");
    for header in json.ok().into_iter().chain(header) {
        response.add_header(header);
    }
    // The client may have gone.
    let _ = request.respond(response);
}
