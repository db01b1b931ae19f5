//! A network of its own for a program, whose other end can go away without a word.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use super::cluster::Cluster;

/// The two ends. Addresses of this block are in no network (RFC 5737).
const OUR_END: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ITS_END: &str = "198.51.100.2/30";

/// A network namespace from which nothing but a server can be reached; it goes with the value.
pub struct Network {
    name: String,
    port: u16,
}

impl Network {
    /// Makes one; nothing, loudly, where that is not allowed.
    pub fn to(server: &Cluster) -> Option<Self> {
        let name = format!("bg{}", std::process::id());
        let (inner, outer) = (format!("{name}i"), format!("{name}o"));
        let address = format!("{OUR_END}/30");
        // From here on it is removed whatever happens.
        let mut network = Self { name: name.clone(), port: 0 };
        let made = ip(&["netns", "add", &name])
            && ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", &name])
            && ip(&["addr", "add", &address, "dev", &outer])
            && ip(&["link", "set", &outer, "up"])
            && ip(&["-n", &name, "addr", "add", ITS_END, "dev", &inner])
            && ip(&["-n", &name, "link", "set", &inner, "up"]);
        if !made {
            eprintln!("SKIPPED: a test needs a network namespace, and ip cannot make one here");
            return None;
        }
        let listener = TcpListener::bind((OUR_END, 0)).expect("listen on our end");
        network.port = listener.local_addr().expect("an address").port();
        let port = server.port();
        thread::spawn(move || {
            for theirs in listener.incoming().flatten() {
                let Ok(ours) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (from, to) = (theirs.try_clone().expect("share"), ours.try_clone().expect("share"));
                thread::spawn(move || relay(from, to));
                thread::spawn(move || relay(ours, theirs));
            }
        });
        Some(network)
    }

    /// The words in front of a program and its arguments that is to run there.
    pub fn words(&self) -> [String; 4] {
        [program(), "netns".into(), "exec".into(), self.name.clone()]
    }

    /// Where the server is found from there.
    pub fn address(&self) -> (String, u16) {
        (OUR_END.to_string(), self.port)
    }

    /// Loses whatever is sent from now on. Nobody is told.
    pub fn cut(&self) {
        assert!(ip(&["link", "set", &format!("{}o", self.name), "down"]), "cut the network");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&["link", "del", &format!("{}o", self.name)]);
        ip(&["netns", "del", &self.name]);
    }
}

fn program() -> String {
    let paths = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"];
    paths.into_iter().find(|path| Path::new(path).exists()).unwrap_or("ip").to_owned()
}

fn ip(words: &[&str]) -> bool {
    let output = Command::new(program()).args(words).output();
    output.is_ok_and(|output| output.status.success())
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        if to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
