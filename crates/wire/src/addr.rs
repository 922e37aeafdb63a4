//! Where a utility is: one token that a person can paste.
//!
//! `<64 hex digits>@127.0.0.1:8083,[::1]:8083+relay=http://127.0.0.1:8082`. The addresses or the
//! relay may be missing, not both.

use std::{fmt, net::SocketAddr, str::FromStr};

use iroh::{EndpointAddr, PublicKey, RelayUrl};
use kinesis_protocol::NodeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{WireError, error::cut};

/// The most direct addresses of one utility.
pub const ADDRS_MAX: usize = 16;
const TOKEN_BYTES_MAX: usize = 2_048;
const RELAY: &str = "+relay=";

/// Where a utility is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UtilityAddr {
    /// Its key: nobody else can answer for it.
    pub node: NodeId,
    /// Where its packets can be sent directly.
    pub addrs: Vec<SocketAddr>,
    /// The relay that passes its packets on; `None` where there is none.
    pub relay: Option<String>,
}

impl UtilityAddr {
    pub(crate) fn to_iroh(&self) -> Result<EndpointAddr, WireError> {
        let key = PublicKey::from_bytes(&self.node.0).map_err(|_| WireError::Addr {
            given: self.node.to_string(),
            expected: "the part before @ is no public key",
        })?;
        let mut addr = EndpointAddr::new(key);
        for direct in &self.addrs {
            addr = addr.with_ip_addr(*direct);
        }
        if let Some(url) = &self.relay {
            addr = addr.with_relay_url(relay_url(url)?);
        }
        Ok(addr)
    }
}

/// Reads a relay's URL.
pub(crate) fn relay_url(url: &str) -> Result<RelayUrl, WireError> {
    let wrong = || WireError::RelayUrl { url: cut(url, 80) };
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(wrong());
    }
    url.parse().map_err(|_| wrong())
}

impl fmt::Display for UtilityAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.node)?;
        for (i, addr) in self.addrs.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{addr}")?;
        }
        if let Some(relay) = &self.relay {
            write!(f, "{RELAY}{relay}")?;
        }
        Ok(())
    }
}

impl FromStr for UtilityAddr {
    type Err = WireError;

    fn from_str(s: &str) -> Result<Self, WireError> {
        let wrong = |expected| WireError::Addr { given: cut(s, 80), expected };
        if s.len() > TOKEN_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let (node, rest) =
            s.trim().split_once('@').ok_or_else(|| wrong("expected <node id>@<ip:port>"))?;
        let node: NodeId =
            node.parse().map_err(|_| wrong("expected 64 hexadecimal digits before @"))?;
        PublicKey::from_bytes(&node.0).map_err(|_| wrong("the part before @ is no public key"))?;
        let (addrs, relay) = match rest.split_once(RELAY) {
            Some((addrs, relay)) => (addrs, Some(relay)),
            None => (rest, None),
        };
        let addrs = addrs
            .split(',')
            .filter(|addr| !addr.is_empty())
            .map(|addr| addr.parse().map_err(|_| wrong("expected ip:port after @")))
            .collect::<Result<Vec<SocketAddr>, _>>()?;
        if addrs.len() > ADDRS_MAX {
            return Err(wrong("it names too many addresses"));
        }
        if let Some(url) = relay {
            relay_url(url)?;
        } else if addrs.is_empty() {
            return Err(wrong("expected ip:port after @, or +relay=URL"));
        }
        Ok(Self { node, addrs, relay: relay.map(str::to_owned) })
    }
}

impl Serialize for UtilityAddr {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtilityAddr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        s.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeSecret;
    use proptest::prelude::*;

    #[test]
    fn every_form_survives_a_round_trip() {
        let node = NodeSecret::generate().node_id();
        for rest in [
            "127.0.0.1:8083",
            "127.0.0.1:8083,[::1]:9",
            "127.0.0.1:8083+relay=http://127.0.0.1:8082",
            "+relay=http://127.0.0.1:8082",
        ] {
            let token = format!("{node}@{rest}");
            let addr: UtilityAddr = token.parse().unwrap();
            assert_eq!(addr.to_string(), token);
            assert_eq!(addr.to_iroh().unwrap().id.as_bytes(), &node.0);
            let json = serde_json::to_string(&addr).unwrap();
            assert_eq!(serde_json::from_str::<UtilityAddr>(&json).unwrap(), addr);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let node = NodeSecret::generate().node_id();
        let no_key = (0..=u8::MAX)
            .map(|byte| NodeId([byte; 32]))
            .find(|node| PublicKey::from_bytes(&node.0).is_err())
            .expect("half of all numbers are no point of the curve");
        for (token, expected) in [
            (node.to_string(), "<node id>@<ip:port>"),
            (format!("{node}@"), "+relay=URL"),
            (format!("{node}@localhost:1"), "ip:port after @"),
            (format!("{node}@127.0.0.1:1+relay=ftp://x"), "relay URL"),
            ("12@127.0.0.1:1".to_owned(), "64 hexadecimal"),
            (format!("{no_key}@127.0.0.1:1"), "no public key"),
        ] {
            let error = token.parse::<UtilityAddr>().unwrap_err().to_string();
            assert!(error.contains(expected), "{token}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(s in "\\PC{0,200}") {
            let _ = s.parse::<UtilityAddr>();
        }
    }
}
