//! `chain`: transactions a second into the embedded chain, beside anvil: plain transfers, and calls
//! that cost what a redemption costs (a Merkle path of 20, a signature, a slot, a log).
//!
//! Both get the same signed transactions from the same client over connections that are kept; each
//! sender asks for the receipt until it is there before it sends the next. (Sent without waiting, some
//! of anvil's transactions stay in its pool until others come.) The embedded chain has every block on
//! disk by then; anvil keeps its blocks in memory.
//!
//! And `year`: a chain with a root anchored every minute of a year, and how long it takes to open
//! after a crash, beside reading its file once.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope, transaction::Recovered},
    eips::Encodable2718 as _,
    primitives::{Address, Bytes, Signature, TxKind, U256, hex, keccak256},
};
use anyhow::{Context, Result, ensure};
use kinesis_chain::{ChainConfig, EmbeddedChain, dev};
use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet};

use super::{Setup, median, peer};

/// How many accounts send at once, each over a connection of its own.
const SENDERS: usize = 8;
/// How many transactions of each kind an account sends in a repetition.
const TRANSACTIONS: u64 = 250;
/// How long a receipt may take.
const RECEIPT_MAX: Duration = Duration::from_secs(60);
/// The minutes of a year.
const YEAR: u64 = 525_600;

/// Creates a contract that folds 20 words of its input into a hash, recovers a signature over it,
/// keeps it under the caller, and emits it.
const REDEEM_LIKE: [u8; 78] = hex!(
    "60458060095f395ff36004355f525f5b806024013560205260405f205f52602001806102801160065760"
    "1b6020525f5160405260016060526020608060805f60015afa505f5133553360205fa100"
);

/// Creates a contract that keeps the first word of its input, and emits it with the second: what
/// anchoring a root does.
const ANCHOR: [u8; 29] = hex!("60148060095f395ff36004355f55604060045f376004353360405fa200");

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where a side does not start or refuses a transaction.
pub async fn run(setup: &Setup) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut ours = Side::embedded(setup, folder.path()).await?;
    let mut theirs = Side::anvil().await?;
    let (mut rates, mut their_rates, mut ratios) = (vec![], vec![], vec![]);
    let (mut transfers, mut calls) = (vec![], vec![]);
    for repetition in 0..=setup.repetitions.max(5) {
        let mut both = [0.0; 2];
        for (kind, kinds) in [(Kind::Transfer, &mut transfers), (Kind::Call, &mut calls)] {
            let (them, us) = (theirs.rate(kind).await?, ours.rate(kind).await?);
            eprintln!("{kind:?}: ours {us:.0}/s, anvil {them:.0}/s, ratio {:.3}", us / them);
            both[0] += 1.0 / us;
            both[1] += 1.0 / them;
            // The first repetition warms both up.
            if repetition > 0 {
                kinds.push(us / them);
            }
        }
        if repetition > 0 {
            rates.push(2.0 / both[0]);
            their_rates.push(2.0 / both[1]);
            ratios.push(both[1] / both[0]);
        }
    }
    drop((ours, theirs));
    let year = year(folder.path(), YEAR).await?;
    let result = json!({
        "bench": "chain",
        "ratio": median(&ratios),
        "transfer_ratio": median(&transfers),
        "call_ratio": median(&calls),
        "rate": median(&rates),
        "peer_rate": median(&their_rates),
        "year_open_ms": year.open_ms,
        "year_open_ratio": year.open_ms / year.read_ms,
        "year_bytes_per_block": year.bytes_per_block,
    });
    println!("{result}");
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Transfer,
    Call,
}

/// A chain, and the accounts that send to it.
struct Side {
    _process: peer::Peer,
    url: String,
    http: Vec<reqwest::Client>,
    nonce: u64,
    contract: Address,
}

impl Side {
    async fn embedded(setup: &Setup, folder: &Path) -> Result<Self> {
        let port = peer::free_port()?;
        let mut command = Command::new(&setup.kinesis);
        command.arg("chain").arg("--data").arg(folder.join("chain"));
        command.args(["--rpc", &format!("127.0.0.1:{port}")]);
        let process = peer::serve(command, port).await?;
        Self::new(process, format!("http://127.0.0.1:{port}/rpc")).await
    }

    async fn anvil() -> Result<Self> {
        let port = peer::free_port()?;
        let anvil =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/node_modules/.bin/anvil");
        let mut command = Command::new(anvil);
        command.args(["--silent", "--port", &port.to_string()]);
        let process = peer::serve(command, port).await?;
        Self::new(process, format!("http://127.0.0.1:{port}")).await
    }

    async fn new(process: peer::Peer, url: String) -> Result<Self> {
        let client = || reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).build();
        let http = (0..SENDERS).map(|_| client()).collect::<Result<_, _>>()?;
        // The last account deploys, so that all senders begin with the same nonce.
        let deployer = dev::key(SENDERS);
        let contract = deployer.address().create(0);
        let side = Self { _process: process, url, http, nonce: 0, contract };
        let create = signed(SENDERS, 0, TxKind::Create, REDEEM_LIKE.into());
        side.send(0, &create).await.context("the contract")?;
        Ok(side)
    }

    /// Transactions a second.
    async fn rate(&mut self, kind: Kind) -> Result<f64> {
        let nonces = self.nonce..self.nonce + TRANSACTIONS;
        self.nonce += TRANSACTIONS;
        // All are signed before the clock starts.
        let prepared: Vec<Vec<Bytes>> = (0..SENDERS)
            .map(|sender| nonces.clone().map(|nonce| self.prepare(kind, sender, nonce)).collect())
            .collect();
        let this = &*self;
        let start = Instant::now();
        let all = prepared.iter().enumerate().map(|(sender, transactions)| async move {
            for raw in transactions {
                this.send(sender, raw).await?;
            }
            anyhow::Ok(())
        });
        futures_util::future::try_join_all(all).await?;
        let took = start.elapsed().as_secs_f64();
        let count = u32::try_from(TRANSACTIONS * SENDERS as u64)?;
        Ok(f64::from(count) / took)
    }

    fn prepare(&self, kind: Kind, sender: usize, nonce: u64) -> Bytes {
        match kind {
            Kind::Transfer => {
                let to = Address::left_padding_from(&(1_000 + nonce % 64).to_be_bytes());
                signed(sender, nonce, TxKind::Call(to), Bytes::new())
            }
            Kind::Call => {
                let input = words(nonce, 21);
                signed(sender, nonce, TxKind::Call(self.contract), input)
            }
        }
    }

    async fn call(&self, sender: usize, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.http[sender].post(&self.url).json(&body).send().await?;
        let mut answer: Value = answer.json().await?;
        ensure!(answer.get("error").is_none(), "{method}: {answer}");
        Ok(answer["result"].take())
    }

    /// Sends a transaction and waits for its receipt.
    async fn send(&self, sender: usize, raw: &Bytes) -> Result<()> {
        let hash = self.call(sender, "eth_sendRawTransaction", json!([raw])).await?;
        let until = Instant::now() + RECEIPT_MAX;
        loop {
            let receipt = self.call(sender, "eth_getTransactionReceipt", json!([hash])).await?;
            if !receipt.is_null() {
                ensure!(receipt["status"] == "0x1", "a transaction failed: {receipt}");
                return Ok(());
            }
            ensure!(Instant::now() < until, "no receipt of {hash}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A selector and so many words that follow from `seed`.
fn words(seed: u64, count: u8) -> Bytes {
    let mut input = vec![0xaa, 0xbb, 0xcc, 0xdd];
    for word in 0..count {
        input.extend(keccak256([&seed.to_be_bytes()[..], &[word]].concat()));
    }
    input.into()
}

fn unsigned(nonce: u64, to: TxKind, input: Bytes) -> TxEip1559 {
    TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        gas_limit: if input.is_empty() { 21_000 } else { 250_000 },
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1,
        value: U256::from(u8::from(input.is_empty())),
        to,
        input,
        ..TxEip1559::default()
    }
}

fn signed(sender: usize, nonce: u64, to: TxKind, input: Bytes) -> Bytes {
    let transaction = unsigned(nonce, to, input);
    let signature = dev::key(sender).sign_hash(&transaction.signature_hash());
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
}

struct Year {
    open_ms: f64,
    read_ms: f64,
    bytes_per_block: u64,
}

/// Grows a chain by `blocks`, and opens what a killed process would leave of it.
async fn year(folder: &Path, blocks: u64) -> Result<Year> {
    let (dir, copy) = (folder.join("year"), folder.join("killed"));
    let start = Instant::now();
    let chain = EmbeddedChain::open(ChainConfig::new(&dir))?;
    let sender = dev::key(3).address();
    // Nobody checks signatures below the RPC, and a year of them would take long to make.
    let made_up = |nonce, to, input| {
        let word = |word: Bytes| U256::from_be_slice(&word[4..]);
        let signature = Signature::new(word(words(nonce, 1)), word(words(!nonce, 1)), false);
        let transaction = unsigned(nonce, to, input).into_signed(signature);
        Recovered::new_unchecked(TxEnvelope::from(transaction), sender)
    };
    chain.submit(made_up(0, TxKind::Create, ANCHOR.into())).await?;
    let anchor = TxKind::Call(sender.create(0));
    let mut sent = JoinSet::new();
    for nonce in 1..blocks {
        let (chain, one) = (chain.clone(), made_up(nonce, anchor, words(nonce, 6)));
        sent.spawn(async move { chain.submit(one).await.map(drop) });
        // Fewer than may wait for a gap in their nonces to close.
        if sent.len() >= 60 {
            sent.join_next().await.context("sent")???;
        }
    }
    while let Some(done) = sent.join_next().await {
        done??;
    }
    ensure!(chain.block_number()? == blocks, "{} blocks", chain.block_number()?);
    // Idle for a moment, as between two minutes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::create_dir(&copy)?;
    let (killed, copy_file) = (folder.join("killed.redb"), copy.join("chain.redb"));
    let bytes = std::fs::copy(dir.join("chain.redb"), &killed)?;
    eprintln!("{blocks} blocks, {bytes} bytes, grown in {:.0} s", start.elapsed().as_secs_f64());
    drop(chain);
    let (mut opens, mut reads) = (vec![], vec![]);
    for _ in 0..5 {
        std::fs::copy(&killed, &copy_file)?;
        let start = Instant::now();
        let length = std::fs::read(&copy_file)?.len();
        reads.push(start.elapsed().as_secs_f64() * 1000.0);
        let start = Instant::now();
        let chain = EmbeddedChain::open(ChainConfig::new(&copy))?;
        ensure!(chain.block_number()? == blocks, "blocks are missing");
        opens.push(start.elapsed().as_secs_f64() * 1000.0);
        drop(chain);
        eprintln!(
            "opened in {:?} ms; its {length} bytes are read in {:?} ms",
            opens.last(),
            reads.last()
        );
    }
    Ok(Year { open_ms: median(&opens), read_ms: median(&reads), bytes_per_block: bytes / blocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_grown_chain_opens_and_is_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let year = year(folder.path(), 200).await.expect("a chain");
        assert!(year.open_ms > 0.0 && year.read_ms > 0.0);
        assert!(year.bytes_per_block > 300);
    }
}
