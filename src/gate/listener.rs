//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen as nix_listen, setsockopt, socket,
    sockopt,
};

/// Listens on an address. `::` means every address, IPv6 and IPv4; only IPv4 where there is no IPv6.
///
/// # Errors
/// When the port is taken or needs more rights, or the address is not one of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let port = address.port();
    match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => listen_by_both(port).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        }),
        _ => TcpListener::bind(address),
    }
}

/// Dual stack, whatever the machine's default is (ipv6(7), bindv6only), which the standard library goes by.
fn listen_by_both(port: u16) -> io::Result<TcpListener> {
    let socket = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?;
    nix_listen(&socket, Backlog::MAXALLOWABLE)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn every_address_is_listened_on_and_a_port_that_is_taken_is_told() {
        let listener = listen((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
        if address.is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).unwrap();
        }
        for taken in [address, (Ipv4Addr::LOCALHOST, address.port()).into()] {
            assert_eq!(listen(taken).unwrap_err().kind(), io::ErrorKind::AddrInUse, "{taken}");
        }
    }
}
