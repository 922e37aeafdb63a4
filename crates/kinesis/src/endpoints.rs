//! `endpoints.json`: where a role answers, for scripts, for `kinesis up`, and for the role's own next
//! start, which keeps the ports that were picked for it.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use kinesis_chain::Contracts;
use kinesis_protocol::Address;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Result},
    files,
    listen::Listen,
};

/// The file's name in a data directory.
pub(crate) const FILE: &str = "endpoints.json";

/// Where the embedded chain answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainEndpoints {
    /// The process.
    pub(crate) pid: u32,
    /// Its JSON-RPC.
    pub(crate) rpc: String,
    /// The address it listens at.
    pub(crate) rpc_addr: SocketAddr,
    /// The chain's id.
    pub(crate) chain_id: u64,
}

/// Where a utility answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UtilityEndpoints {
    /// The process.
    pub(crate) pid: u32,
    /// Base URL of customers' apps.
    pub(crate) ingress: String,
    /// Base URL of page and API.
    pub(crate) portal: String,
    /// The relay.
    pub(crate) relay: String,
    /// The utility's address on the wires: what agents are told.
    pub(crate) wire: String,
    /// Where agents hold their lifelines.
    pub(crate) lifeline: Option<SocketAddr>,
    /// The chain's JSON-RPC.
    pub(crate) rpc: String,
    /// The chain's id.
    pub(crate) chain_id: u64,
    /// The token contract.
    pub(crate) joule: Address,
    /// The escrow contract.
    pub(crate) escrow: Address,
    /// All contracts, those two among them. `None` in the files of an earlier version.
    #[serde(default)]
    pub(crate) contracts: Option<Contracts>,
    /// The utility's address on chain.
    pub(crate) utility: Address,
    /// Where the operator's token is kept.
    pub(crate) operator_token_file: PathBuf,
    /// What it listens at, by flag.
    pub(crate) listens: BTreeMap<String, SocketAddr>,
}

/// Where a whole grid answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GridEndpoints {
    /// The utility's, side by side with the rest; its pid is in `pids`.
    #[serde(flatten)]
    pub(crate) utility: UtilityEndpoints,
    /// Every process by name: `up`, `chain`, `utility`, `supplier-1`, ...
    pub(crate) pids: BTreeMap<String, u32>,
    /// Local suppliers.
    pub(crate) suppliers: Vec<SupplierEndpoints>,
}

/// A local supplier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SupplierEndpoints {
    /// Its name.
    pub(crate) name: String,
    /// Its tier.
    pub(crate) tier: kinesis_protocol::Tier,
    /// Its data directory.
    pub(crate) data: PathBuf,
}

/// Writes where a role answers.
pub(crate) fn write<T: Serialize>(dir: &Path, endpoints: &T) -> Result<()> {
    let path = dir.join(FILE);
    let text = serde_json::to_string_pretty(endpoints)
        .map_err(|e| Error::Answer { what: path.display().to_string(), source: e.into() })?;
    files::write_private(&path, &text)
}

/// Reads where a role answered; `None` where it never did, or in a way nobody understands.
pub(crate) fn read<T: DeserializeOwned>(dir: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()
}

/// Where to listen: where any free port will do, the one that was picked last time, if it is free.
pub(crate) fn remembered(
    wanted: Listen,
    last: Option<SocketAddr>,
    is_free: impl Fn(SocketAddr) -> bool,
) -> SocketAddr {
    match last {
        Some(last) if wanted.0.port() == 0 && last.ip() == wanted.0.ip() && is_free(last) => last,
        _ => wanted.0,
    }
}

/// Whether a TCP port is free.
pub(crate) fn tcp_free(addr: SocketAddr) -> bool {
    std::net::TcpListener::bind(addr).is_ok()
}

/// Whether a UDP port is free.
pub(crate) fn udp_free(addr: SocketAddr) -> bool {
    std::net::UdpSocket::bind(addr).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picked_port_is_kept_while_it_is_free() {
        let last: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(remembered(Listen::local(0), Some(last), |_| true), last);
        assert_eq!(remembered(Listen::local(0), Some(last), |_| false).port(), 0);
        assert_eq!(remembered(Listen::local(80), Some(last), |_| true).port(), 80);
        let other: Listen = "0.0.0.0:0".parse().unwrap();
        assert_eq!(remembered(other, Some(last), |_| true).port(), 0);
        assert_eq!(remembered(Listen::local(0), None, |_| true).port(), 0);
    }

    #[test]
    fn what_is_written_is_read_and_nonsense_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let chain = ChainEndpoints {
            pid: 7,
            rpc: "http://127.0.0.1:1/rpc".into(),
            rpc_addr: "127.0.0.1:1".parse().unwrap(),
            chain_id: 31337,
        };
        assert_eq!(read::<ChainEndpoints>(dir.path()), None);
        write(dir.path(), &chain).unwrap();
        assert_eq!(read(dir.path()), Some(chain));
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(read::<ChainEndpoints>(dir.path()), None);
    }
}
