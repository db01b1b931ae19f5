//! The health port: answers every GET with the record of the runs.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use super::record::Record;
use crate::http::error::ApiError;
use crate::http::gate::limits::Limits;
use crate::http::gate::{Gate, Incoming, Service};
use crate::http::message::{Body, Response};

/// Connections at one time.
const CONNECTIONS: usize = 64;

/// Opens the port on every address of the machine, and answers there from now on.
///
/// # Errors
/// When the port cannot be had, because another program has it for example.
pub fn open(port: u16, record: Arc<Record>) -> io::Result<Gate> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    Gate::open("health port", listener, Limits::of(CONNECTIONS), Arc::new(Health { record }))
}

struct Health {
    record: Arc<Record>,
}

impl Service for Health {
    fn answer(&self, incoming: &Incoming) -> Response {
        if !["GET", "HEAD"].contains(&incoming.head.method.as_str()) {
            return ApiError::method_not_allowed("GET, HEAD").into();
        }
        let report = self.record.report();
        let headers = vec![("Content-Type".into(), "application/json".to_owned())];
        let body = Body::Bytes((report.json + "\n").into_bytes());
        Response { status: if report.healthy { 200 } else { 503 }, headers, body }
    }

    fn is_probed(&self, _path: &str) -> bool {
        true
    }
}
