//! The signing process: what it signs, what it refuses, and that it is private.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use alloy::primitives::{Address, U256};
use kinesis_chain::{
    ChainError, Key, Settlement, Until,
    contracts::{Joule, PaymentEscrow},
    dev,
    signer::{guard::Guard, policy::SignerPolicy, remote::RemoteSigner, server::SignerServer},
};
use kinesis_protocol::{B256, LeaseTerms, PaymentRoot, SignedAck, SlaOffer, sla::Ack};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinHandle,
};

use crate::support::{Grid, embedded, joule};

/// The court of leases.
const COURT: Address = Address::repeat_byte(0xc0);

async fn serve(dir: &Path, key: Key, grid: &Grid) -> JoinHandle<()> {
    let policy = SignerPolicy {
        chain_id: grid.contracts.chain_id,
        escrow: grid.contracts.escrow,
        joule: grid.contracts.joule,
        leases: Some(COURT),
        market: None,
        fee_per_gas_max: 500_000_000_000,
    };
    let guard = Guard::open(&dir.join("signed.json")).unwrap();
    let server = SignerServer::bind(&dir.join("socket"), key, policy, guard).await.unwrap();
    tokio::spawn(server.run())
}

fn hash_of(n: u8) -> B256 {
    B256::repeat_byte(n)
}

fn root(utility: Address, tick: u64, hash: u8) -> PaymentRoot {
    PaymentRoot { utility, series: 1, tick, root: B256::repeat_byte(hash), total: U256::from(9) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_signs_what_a_utility_needs_and_nothing_else() {
    let chain = embedded().await;
    let grid = Grid::new(&chain.url).await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let key = Key::random();
    let running = serve(dir.path(), key.clone(), &grid).await;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let remote = RemoteSigner::connect(&socket).await.unwrap();
    assert_eq!(remote.address(), key.address());
    let (chain_id, escrow, token) =
        (grid.contracts.chain_id, grid.contracts.escrow, grid.contracts.joule);
    let utility = Settlement::new(&chain.url, chain_id, escrow, remote).unwrap();
    let own = utility.address();
    dev::fund(&chain.url, own, joule(1)).await.unwrap();
    grid.utility.transfer(own, joule(100)).await.unwrap();

    // A utility's day.
    utility.top_up(1, joule(50)).await.unwrap();
    let signed = utility.sign_root(root(own, 1, 1)).await.unwrap();
    assert!(signed.verify(chain_id, escrow));
    utility.request_withdrawal(1, joule(10)).await.unwrap();

    // A second root for a tick, or an older one, even after a restart of the process.
    let refused =
        |error: ChainError| assert!(matches!(error, ChainError::SignerRefused(_)), "{error:?}");
    refused(utility.sign_root(root(own, 1, 2)).await.unwrap_err());
    running.abort();
    running.await.unwrap_err();
    let running = serve(dir.path(), key.clone(), &grid).await;
    refused(utility.sign_root(root(own, 1, 2)).await.unwrap_err());
    assert_eq!(utility.sign_root(root(own, 1, 1)).await.unwrap(), signed);
    utility.sign_root(root(own, 2, 2)).await.unwrap();
    refused(utility.sign_root(root(own, 1, 1)).await.unwrap_err());
    refused(utility.sign_root(root(Address::repeat_byte(1), 3, 3)).await.unwrap_err());

    // What it promises and acknowledges, for the court it was told of.
    let terms = LeaseTerms {
        supplier: Address::repeat_byte(5),
        utility: own,
        lease: hash_of(1),
        from: 100,
        to: 200,
        ackInterval: 30,
        penalty: U256::from(7).to(),
    };
    let sign = async |terms, court| utility.signer().sign_terms(terms, chain_id, court).await;
    let signature = sign(terms, COURT).await.unwrap();
    assert!(SlaOffer { chain_id, court: COURT, terms, signature }.is_signed());
    refused(sign(terms, Address::repeat_byte(5)).await.unwrap_err());
    refused(sign(LeaseTerms { utility: terms.supplier, ..terms }, COURT).await.unwrap_err());
    refused(sign(LeaseTerms { to: 100, ..terms }, COURT).await.unwrap_err());
    let ack = Ack { terms: terms.signing_hash(chain_id, COURT), upTo: 150 };
    let signature = utility.signer().sign_ack(ack, chain_id, COURT).await.unwrap();
    assert!(SignedAck { ack, signature }.is_of(own, chain_id, COURT));
    let elsewhere = utility.signer().sign_ack(ack, chain_id, Address::repeat_byte(5)).await;
    refused(elsewhere.unwrap_err());

    // What would take the money elsewhere.
    refused(utility.transfer(Address::repeat_byte(5), joule(1)).await.unwrap_err());
    let approve = Joule::approveCall { spender: Address::repeat_byte(5), value: U256::MAX };
    refused(utility.submit("a", token, &approve, Until::Mined).await.unwrap_err());
    let withdraw = PaymentEscrow::withdrawCall { series: 1, to: Address::repeat_byte(5) };
    let elsewhere = Settlement::new(&chain.url, chain_id, escrow, key.clone()).unwrap();
    // The contract would let it: this wall is the signer's.
    let error = elsewhere.submit("b", escrow, &withdraw, Until::Mined).await.unwrap_err();
    assert!(error.to_string().contains("StillThawing"), "{error}");
    let hash = B256::repeat_byte(7);
    refused(utility.signer().sign_hash(&hash).unwrap_err());

    // Nonsense on the socket is answered or hung up on, and the process goes on.
    for nonsense in [&b"\n"[..], b"{}\n", b"{\"ask\":\"key\"}\n", &[0xff; 600_000]] {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        // It may have been hung up on already.
        let _ = stream.write_all(nonsense).await;
        stream.shutdown().await.ok();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        assert!(said.is_empty() || said.contains("refused"), "{said}");
    }
    utility.sign_root(root(own, 3, 3)).await.unwrap();
    running.abort();
}

#[tokio::test]
async fn a_second_process_does_not_take_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let policy = || SignerPolicy {
        chain_id: 1,
        escrow: Address::repeat_byte(1),
        joule: Address::repeat_byte(2),
        leases: Some(COURT),
        market: None,
        fee_per_gas_max: 1,
    };
    let guard = || Guard::open(&dir.path().join("signed.json")).unwrap();
    let socket = dir.path().join("socket");
    let first = SignerServer::bind(&socket, Key::random(), policy(), guard()).await.unwrap();
    let first = Arc::new(first);
    let second = SignerServer::bind(&socket, Key::random(), policy(), guard()).await;
    assert!(matches!(second, Err(ChainError::Signer { .. })), "{second:?}");
    drop(first);
    // A socket that a killed process left is no obstacle.
    std::os::unix::net::UnixListener::bind(&socket).unwrap();
    SignerServer::bind(&socket, Key::random(), policy(), guard()).await.unwrap();
    let gone = RemoteSigner::connect(&dir.path().join("none")).await.unwrap_err();
    assert!(gone.is_unreachable(), "{gone:?}");
}
