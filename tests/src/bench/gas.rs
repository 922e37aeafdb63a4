//! `gas`: what redemptions cost beside the cumulative Merkle claim of 1inch over the same token, as
//! anvil's receipts say it: whole transactions, in trees of 1,048,576 leaves.
//!
//! Gas is no time: each transaction is sent once. Suppliers are drawn at random, with a seed, and
//! have been paid before, but for `first`. Of the trees only the ways that are shown are made: the
//! hashes beside them are drawn, too, and weigh as much as real ones.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::Encodable2718 as _,
    primitives::{Address, B256, Bytes, TxKind, U256, keccak256},
    sol,
    sol_types::{SolCall, SolConstructor as _},
};
use anyhow::{Context, Result, ensure};
use kinesis_chain::{
    Contracts,
    contracts::{Joule, PaymentEscrow},
    deploy, dev,
};
use kinesis_protocol::PaymentRoot;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::index::sample};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Setup, peer};

sol!(CumulativeDrop, "../contracts/artifacts/CumulativeDrop.json");

const DEPTH: usize = 20;
const MANY: usize = 100;
/// The same number.
const EACH: u32 = 100;
/// How long a receipt may take.
const RECEIPT_MAX: Duration = Duration::from_secs(30);
const SERIES: u64 = 1;
/// Whose JOULE is in the escrow, and who sends everything.
const UTILITY: usize = 3;
/// A block may hold more; a transaction of the newest chains may not.
const GAS_LIMIT: u64 = 1 << 24;

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where anvil does not start or a transaction fails.
pub async fn run(_: &Setup) -> Result<()> {
    let mut grid = Grid::new().await?;
    let payee = grid.address();

    let first = grid.redeem(payee, 1, Signed::Here).await?;
    let repeat = grid.redeem(payee, 2, Signed::Here).await?;
    let anchored = grid.redeem(payee, 3, Signed::Anchored).await?;
    let transfer = grid.transfer(payee).await?;
    let first_claim = grid.claim(payee, 1).await?;
    let claim = grid.claim(payee, 2).await?;

    let scattered = sample(&mut grid.random, 1 << DEPTH, MANY).into_vec();
    grid.redeem_many(&scattered, 1).await?;
    let many = grid.redeem_many(&scattered, 2).await? / EACH;
    let neighbours: Vec<usize> = (1000..1000 + MANY).collect();
    grid.redeem_many(&neighbours, 3).await?;
    let close = grid.redeem_many(&neighbours, 4).await? / EACH;

    let of_claim = |gas: u32| f64::from(gas) / f64::from(claim);
    let result = json!({
        "bench": "gas",
        "repeat_ratio": of_claim(repeat),
        "many_ratio": of_claim(many),
        "many_neighbours_ratio": of_claim(close),
        "anchored_ratio": of_claim(anchored),
        "first": first,
        "repeat": repeat,
        "anchored": anchored,
        "many_each": many,
        "many_neighbours_each": close,
        "transfer": transfer,
        "first_claim": first_claim,
        "claim": claim,
    });
    println!("{result}");
    Ok(())
}

#[derive(Clone, Copy)]
enum Signed {
    Here,
    Anchored,
}

/// Anvil with the protocol, a utility with money in escrow, and the claimer with as much.
struct Grid {
    _anvil: peer::Peer,
    url: String,
    http: reqwest::Client,
    contracts: Contracts,
    drop: Address,
    nonce: u64,
    tick: u64,
    random: StdRng,
}

impl Grid {
    async fn new() -> Result<Self> {
        let port = peer::free_port()?;
        let anvil =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/node_modules/.bin/anvil");
        let mut command = Command::new(anvil);
        command.args(["--silent", "--port", &port.to_string()]);
        let _anvil = peer::serve(command, port).await?;
        let url = format!("http://127.0.0.1:{port}");
        let contracts = deploy(&url, &dev::key(0)).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let random = StdRng::seed_from_u64(7);
        let (drop, nonce, tick) = (Address::ZERO, 0, 2_592_000);
        let mut grid = Self { _anvil, url, http, contracts, drop, nonce, tick, random };
        let sender = dev::key(UTILITY).address();
        let nonce = grid.call("eth_getTransactionCount", json!([sender, "latest"])).await?;
        grid.nonce = number(&nonce)?;

        let (joule, escrow) = (contracts.joule, contracts.escrow);
        let amount = wei(400_000);
        grid.transact(joule, &Joule::approveCall { spender: escrow, value: amount }).await?;
        let deposit = PaymentEscrow::depositCall { utility: sender, series: SERIES, amount };
        grid.transact(escrow, &deposit).await?;
        let made_with = CumulativeDrop::constructorCall { token_: joule }.abi_encode();
        let code = [&CumulativeDrop::BYTECODE[..], &made_with].concat();
        grid.drop = sender.create(grid.nonce);
        grid.send(TxKind::Create, code.into()).await?;
        grid.transact(joule, &Joule::transferCall { to: grid.drop, value: amount }).await?;
        // The account's sum and the fees are no longer zero, as in any week but the first.
        let somebody = grid.address();
        grid.redeem(somebody, 1, Signed::Here).await?;
        Ok(grid)
    }

    async fn redeem(&mut self, payee: Address, times: u64, signed: Signed) -> Result<u32> {
        let cumulative = earned(times, 0);
        let way: Vec<B256> = (0..DEPTH).map(|_| self.hash()).collect();
        let top = way.iter().fold(leaf(payee, cumulative), |below, beside| pair(below, *beside));
        let (root, mut signature) = self.sign(top);
        if matches!(signed, Signed::Anchored) {
            let call = PaymentEscrow::anchorCall { root: root.clone(), signature };
            self.transact(self.contracts.escrow, &call).await?;
            signature = Bytes::new();
        }
        let call = PaymentEscrow::redeemCall {
            root,
            signature,
            supplier: payee,
            cumulative: cumulative.to(),
            proof: way,
        };
        self.transact(self.contracts.escrow, &call).await
    }

    /// The suppliers at these places, which are known by them.
    async fn redeem_many(&mut self, places: &[usize], times: u64) -> Result<u32> {
        let mut row = BTreeMap::new();
        let mut claims = Vec::new();
        let mut sorted = places.to_vec();
        sorted.sort_unstable();
        for place in sorted {
            let payee = Address::from_slice(&keccak256(place.to_be_bytes())[..20]);
            let cumulative = earned(times, place);
            row.insert(place, leaf(payee, cumulative));
            claims.push(word(payee, cumulative));
        }
        let (mut proof, mut steps) = (Vec::new(), Vec::new());
        for _ in 0..DEPTH {
            let mut above = BTreeMap::new();
            while let Some((place, hash)) = row.pop_first() {
                // What comes next in the row is the other half, or it is not known.
                let beside = row.first_entry().filter(|next| *next.key() == place ^ 1);
                let known = beside.map(|next| next.remove());
                steps.push(known.is_some());
                let other = known.unwrap_or_else(|| {
                    proof.push(self.hash());
                    proof[proof.len() - 1]
                });
                above.insert(place / 2, pair(hash, other));
            }
            row = above;
        }
        let top = row.pop_first().context("a root")?.1;
        let (root, signature) = self.sign(top);
        let flags = bits(&steps);
        let call = PaymentEscrow::redeemManyCall { root, signature, claims, proof, flags };
        self.transact(self.contracts.escrow, &call).await
    }

    async fn transfer(&mut self, to: Address) -> Result<u32> {
        let value = earned(1, 0);
        self.transact(self.contracts.joule, &Joule::transferCall { to, value }).await
    }

    async fn claim(&mut self, account: Address, times: u64) -> Result<u32> {
        let amount = earned(times, 0);
        let way: Vec<B256> = (0..DEPTH).map(|_| self.hash()).collect();
        let below = keccak256([&account[..], &amount.to_be_bytes::<32>()].concat());
        let root = way.iter().fold(below, |below, beside| pair(below, *beside));
        self.transact(self.drop, &CumulativeDrop::setMerkleRootCall { root }).await?;
        let call = CumulativeDrop::claimCall {
            account,
            cumulativeAmount: amount,
            expectedMerkleRoot: root,
            merkleProof: way,
        };
        self.transact(self.drop, &call).await
    }

    /// Signs the next root.
    fn sign(&mut self, root: B256) -> (PaymentEscrow::PaymentRoot, Bytes) {
        self.tick += 1;
        let utility = dev::key(UTILITY).address();
        let (series, tick, total) = (SERIES, self.tick, wei(12_345_678));
        let hash = PaymentRoot { utility, series, tick, root, total }
            .signing_hash(dev::CHAIN_ID, self.contracts.escrow);
        let signature = dev::key(UTILITY).sign_hash(&hash).as_bytes();
        let root = PaymentEscrow::PaymentRoot { utility, series, tick, root, total };
        (root, Bytes::from(signature))
    }

    fn hash(&mut self) -> B256 {
        B256::from(self.random.random::<[u8; 32]>())
    }

    fn address(&mut self) -> Address {
        Address::from(self.random.random::<[u8; 20]>())
    }

    async fn transact<C: SolCall>(&mut self, to: Address, call: &C) -> Result<u32> {
        self.send(TxKind::Call(to), call.abi_encode().into()).await
    }

    /// Sends it, and gives the gas of its receipt.
    async fn send(&mut self, to: TxKind, input: Bytes) -> Result<u32> {
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce: self.nonce,
            gas_limit: GAS_LIMIT,
            max_fee_per_gas: 20_000_000_000,
            max_priority_fee_per_gas: 1,
            to,
            input,
            ..TxEip1559::default()
        };
        self.nonce += 1;
        let signature = dev::key(UTILITY).sign_hash(&transaction.signature_hash());
        let raw: Bytes = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into();
        let hash = self.call("eth_sendRawTransaction", json!([raw])).await?;
        let until = Instant::now() + RECEIPT_MAX;
        let receipt = loop {
            let receipt = self.call("eth_getTransactionReceipt", json!([hash])).await?;
            if !receipt.is_null() {
                break receipt;
            }
            ensure!(Instant::now() < until, "no receipt of {hash}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        ensure!(receipt["status"] == "0x1", "a transaction failed: {receipt}");
        Ok(number(&receipt["gasUsed"])?.try_into()?)
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer: Value = self.http.post(&self.url).json(&body).send().await?.json().await?;
        ensure!(answer.get("error").is_none(), "{method}: {answer}");
        Ok(answer["result"].take())
    }
}

/// A number as JSON-RPC writes one.
fn number(value: &Value) -> Result<u64> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    Ok(u64::from_str_radix(digits.context("a number in hex")?, 16)?)
}

fn wei(joule: u64) -> U256 {
    U256::from(joule) * U256::from(10).pow(U256::from(18))
}

/// Some JOULE to the last wei.
fn earned(times: u64, place: usize) -> U256 {
    U256::from(times) * U256::from(12_345_678_901_234_567_890_u128) + U256::from(place)
}

/// The address, and behind it the amount, in one word.
fn word(payee: Address, cumulative: U256) -> B256 {
    B256::from(U256::from_be_slice(&payee[..]) << 96_u32 | cumulative)
}

fn leaf(payee: Address, cumulative: U256) -> B256 {
    keccak256(word(payee, cumulative))
}

fn pair(a: B256, b: B256) -> B256 {
    let (first, second) = if a < b { (a, b) } else { (b, a) };
    keccak256([first, second].concat())
}

/// From the most significant bit of the first byte on.
fn bits(steps: &[bool]) -> Bytes {
    let byte = |eight: &[bool]| {
        eight
            .iter()
            .enumerate()
            .fold(0_u8, |byte, (place, set)| byte | u8::from(*set) << (7 - place))
    };
    steps.chunks(8).map(byte).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_bits_from_the_most_significant_on() {
        let mut steps = [false; 9];
        (steps[0], steps[6], steps[8]) = (true, true, true);
        assert_eq!(bits(&steps)[..], [0b1000_0010, 0b1000_0000]);
    }

    #[test]
    fn a_word_is_the_address_and_the_amount() {
        let word = word(Address::repeat_byte(0x11), U256::from(0x0203));
        assert_eq!(word[..20], [0x11; 20]);
        assert_eq!(word[20..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3]);
    }
}
