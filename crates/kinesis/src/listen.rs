//! Addresses to listen at: `8080`, `0.0.0.0:8080`, `[::1]:8080`; port 0 is any free one.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An address to listen at. Without an address, this machine only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PortOrAddr", into = "String")]
pub(crate) struct Listen(pub(crate) SocketAddr);

#[derive(Deserialize)]
#[serde(untagged)]
enum PortOrAddr {
    Port(u16),
    Addr(String),
}

impl Listen {
    /// A port on this machine only.
    pub(crate) const fn local(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// Fails where a TCP port is taken already.
    pub(crate) fn check_tcp(self, what: &str, flag: &str) -> Result<()> {
        listening(what, self.0, flag, TcpListener::bind(self.0)).map(drop)
    }

    /// Fails where a UDP port is taken already.
    pub(crate) fn check_udp(self, what: &str, flag: &str) -> Result<()> {
        listening(what, self.0, flag, UdpSocket::bind(self.0)).map(drop)
    }
}

/// Turns a failure to bind into one that names the port and the flag.
pub(crate) fn listening<T>(
    what: &str,
    addr: SocketAddr,
    flag: &str,
    bound: io::Result<T>,
) -> Result<T> {
    bound.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            Error::PortInUse { what: what.to_owned(), addr, flag: flag.to_owned() }
        }
        _ => Error::io(format!("listen at {addr} ({flag})"))(e),
    })
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let port = s.parse::<u16>().map(Self::local).ok();
        port.or_else(|| s.parse().map(Self).ok()).ok_or_else(|| {
            format!(
                "expected a port, or an address and a port such as 0.0.0.0:8080, got \"{}\"",
                s.chars().take(60).collect::<String>()
            )
        })
    }
}

impl TryFrom<PortOrAddr> for Listen {
    type Error = String;

    fn try_from(value: PortOrAddr) -> Result<Self, String> {
        match value {
            PortOrAddr::Port(port) => Ok(Self::local(port)),
            PortOrAddr::Addr(addr) => addr.parse(),
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_enough() {
        assert_eq!("8080".parse::<Listen>().unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!("[::1]:0".parse::<Listen>().unwrap().to_string(), "[::1]:0");
        for s in ["", "x", "localhost", "70000", ":8080"] {
            assert!(s.parse::<Listen>().is_err(), "{s}");
        }
    }

    #[test]
    fn a_taken_port_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen(taken.local_addr().unwrap());
        let error = listen.check_tcp("the ingress", "--ingress-listen").unwrap_err();
        assert!(matches!(error, Error::PortInUse { .. }), "{error}");
        drop(taken);
    }
}
