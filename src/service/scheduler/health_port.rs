//! The health port: answers every GET with the record of the runs, and what else is wrong with the backups.

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::backups::Backups;
use super::record::Record;
use crate::gate::limits::{self, Limits};
use crate::gate::{ApiError, Body, Gate, Head, Incoming, Response, Service, listen};

/// Connections at one time.
const CONNECTIONS: usize = 64;

/// Opens the port on every address of the machine, and answers there from now on.
///
/// # Errors
/// When the port cannot be had, because another program has it for example.
pub fn open(port: u16, record: Arc<Record>, backups: Option<Backups>) -> io::Result<Gate> {
    let listener = listen((Ipv6Addr::UNSPECIFIED, port).into())?;
    limits::raise_descriptors();
    let limits = Limits::of(CONNECTIONS.min(limits::connections()));
    Gate::open("health port", listener, limits, Arc::new(Health { record, backups }))
}

struct Health {
    record: Arc<Record>,
    backups: Option<Backups>,
}

impl Service for Health {
    fn answer(&self, incoming: &Incoming) -> Response {
        if !["GET", "HEAD"].contains(&incoming.head.method.as_str()) {
            return ApiError::method_not_allowed("GET, HEAD").into();
        }
        let problems = self.backups.as_ref().map(|backups| backups.problems(&self.record.ended()));
        let report = self.record.report(problems);
        let headers = vec![("Content-Type".into(), "application/json".to_owned())];
        let body = Body::Bytes((report.json + "\n").into_bytes());
        Response { status: if report.healthy { 200 } else { 503 }, headers, body }
    }

    fn wants_body(&self, _head: &Head) -> bool {
        false
    }

    fn is_probe(&self, _path: &str) -> bool {
        true
    }
}
