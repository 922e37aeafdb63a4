//! A chain that grew for long: what it takes on disk, and what it takes to open it after a crash.

use std::{fs, path::Path, time::Duration};

use alloy::{
    consensus::{TxEip1559, TxEnvelope, transaction::Recovered},
    primitives::{Address, Bytes, Signature, TxKind, U256, hex, keccak256},
};
use kinesis_chain::{ChainConfig, EmbeddedChain, dev};
use tokio::task::JoinSet;

/// How long the chain may take to note which of its pages are in use.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Creates a contract that keeps the first word it is called with and emits it with the second:
/// what anchoring a root does.
const ANCHOR: [u8; 29] = hex!("60148060095f395ff36004355f55604060045f376004353360405fa200");

/// A transaction as if account 3 had signed it; a chain that is called directly does not check.
fn transaction(nonce: u64, to: TxKind, input: Bytes) -> Recovered<TxEnvelope> {
    let transaction = TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 2_000_000_000,
        to,
        input,
        ..TxEip1559::default()
    };
    let word =
        |salt: u8| U256::from_be_bytes(keccak256([&nonce.to_be_bytes()[..], &[salt]].concat()).0);
    let signature = Signature::new(word(1), word(2), false);
    let envelope = TxEnvelope::Eip1559(alloy::consensus::SignableTransaction::into_signed(
        transaction,
        signature,
    ));
    Recovered::new_unchecked(envelope, dev::key(3).address())
}

/// Anchors a root in each of so many blocks.
async fn grow(chain: &EmbeddedChain, blocks: u64) {
    let sender = dev::key(3).address();
    chain.submit(transaction(0, TxKind::Create, ANCHOR.into())).await.unwrap();
    let anchor: Address = sender.create(0);
    let mut sent = JoinSet::new();
    for nonce in 1..=blocks {
        let mut input = vec![0xaa, 0xbb, 0xcc, 0xdd];
        for word in 0..6_u8 {
            input.extend(keccak256([&nonce.to_be_bytes()[..], &[word]].concat()));
        }
        let one = transaction(nonce, TxKind::Call(anchor), input.into());
        let chain = chain.clone();
        sent.spawn(async move { chain.submit(one).await.map(drop) });
        // Fewer than may wait for a gap to close.
        if sent.len() >= 60 {
            sent.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    while let Some(done) = sent.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(chain.block_number().unwrap(), blocks + 1);
}

/// What the process read from files since it was started.
fn read_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

/// The files of an open chain as a killed process leaves them; they need no repair.
async fn as_if_killed(from: &Path) -> tempfile::TempDir {
    let until = tokio::time::Instant::now() + SETTLE_MAX;
    loop {
        let to = tempfile::tempdir().unwrap();
        let file = to.path().join("chain.redb");
        fs::copy(from.join("chain.redb"), &file).unwrap();
        let mut probe = redb::Builder::new();
        // Aborted, where it would begin.
        probe.set_repair_callback(redb::RepairSession::abort);
        if probe.open(&file).is_ok() {
            fs::copy(from.join("chain.redb"), &file).unwrap();
            return to;
        }
        assert!(tokio::time::Instant::now() < until, "the file still needs a look at all of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What `open` reads.
fn read_by<T>(open: impl FnOnce() -> T) -> (u64, T) {
    let before = read_bytes();
    let opened = open();
    (read_bytes() - before, opened)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_chain_opens_as_a_short_one_does_even_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
    grow(&chain, 4_000).await;
    // That there is such a copy says that the database opens without a look at all of its pages.
    let killed = as_if_killed(dir.path()).await;
    let file = killed.path().join("chain.redb");
    let length = fs::metadata(&file).unwrap().len();
    // And we add nothing to it that grows with the chain. (Built for debugging, the database does
    // read all of the file: it checks itself.)
    let (theirs, database) = read_by(|| redb::Database::open(&file).unwrap());
    drop(database);
    let killed = as_if_killed(dir.path()).await;
    let (ours, again) = read_by(|| {
        let chain = EmbeddedChain::open(ChainConfig::new(killed.path())).unwrap();
        assert_eq!(chain.block_number().unwrap(), 4_001);
        chain
    });
    drop(again);
    eprintln!("{length} bytes of file; opening the database reads {theirs}, the chain {ours}");
    assert!(ours < theirs + length / 16, "{ours} bytes read, {theirs} by the database alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_kept_compactly() {
    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
    grow(&chain, 4_000).await;
    drop(chain);
    let len = fs::metadata(dir.path().join("chain.redb")).unwrap().len();
    let per_block = len / 4_000;
    // The call's six words, its envelope and its log; and where to find block and transaction.
    let data = 6 * 32 + 4 + 110 + 20 + 2 * 32 + 64 + 2 * 40;
    eprintln!("{per_block} bytes of file for a block with {data} bytes of its own");
    assert!(per_block < 4 * data, "{per_block} bytes of file for {data}");
}
