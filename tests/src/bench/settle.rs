//! `settle`: a tick of the payment tree for 1,048,576 suppliers, beside hashing as many inputs of the
//! same lengths with alloy's `keccak256` on the same core and doing nothing else.
//!
//! A tick is what control does with one: new amounts by address, every path hashed, a clone for
//! those who ask for proofs, while the clone of the tick before is still held. Who changed is drawn
//! at random, anew for each repetition, and so lies all over the tree.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use alloy::primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, Result, ensure};
use kinesis_protocol::PaymentTree;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;

use super::{Setup, median};

const SUPPLIERS: usize = 1 << 20;
const CHANGED: usize = SUPPLIERS / 10;

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where a tree or a proof is not what it must be.
pub fn run(setup: &Setup) -> Result<()> {
    let mut random = StdRng::seed_from_u64(3);
    let mut payees: Vec<(Address, U256)> = (0..SUPPLIERS)
        .map(|_| (Address::from(random.random::<[u8; 20]>()), wei(&mut random)))
        .collect();
    let mut grid = Kept::new(payees.clone())?;
    payees.shuffle(&mut random);

    let (mut raws, mut fulls, mut parts, mut twos, mut proofs) =
        (vec![], vec![], vec![], vec![], vec![]);
    let (mut full_ratios, mut part_ratios) = (vec![], vec![]);
    for repetition in 0..=setup.repetitions.max(5) {
        let raw = raw();
        payees.iter_mut().for_each(|(_, amount)| *amount += wei(&mut random));
        let full = grid.tick(&payees, 1)?;
        payees.shuffle(&mut random);
        let some = &mut payees[..CHANGED];
        some.iter_mut().for_each(|(_, amount)| *amount += wei(&mut random));
        let part = grid.tick(&payees[..CHANGED], 1)?;
        payees.iter_mut().for_each(|(_, amount)| *amount += wei(&mut random));
        let two = grid.tick(&payees, 2)?;
        let rate = grid.proofs(&payees)?;
        eprintln!(
            "keccak256 alone {raw:.0} ms, full tick {full:.0} ms, 10 % changed {part:.1} ms, full \
             on two cores {two:.0} ms, {rate:.0} proofs/s"
        );
        // The first repetition warms up.
        if repetition > 0 {
            full_ratios.push(full / raw);
            part_ratios.push(part / full);
            raws.push(raw);
            fulls.push(full);
            parts.push(part);
            twos.push(two);
            proofs.push(rate);
        }
    }
    ensure!(
        grid.tree.root() == PaymentTree::new(grid.in_order(&payees)?)?.root(),
        "the tree is not the one that is built from nothing"
    );
    let result = json!({
        "bench": "settle",
        "full_ratio": median(&full_ratios),
        "incremental_ratio": median(&part_ratios),
        "two_core_ms": median(&twos),
        "proofs_per_s": median(&proofs),
        "bytes_per_supplier": grid.tree.bytes() / SUPPLIERS,
        "raw_ms": median(&raws),
        "full_ms": median(&fulls),
        "incremental_ms": median(&parts),
        "three_suppliers_us": small_us(&mut random)?,
    });
    println!("{result}");
    Ok(())
}

/// The tree of the next tick, and the one that is served.
struct Kept {
    tree: PaymentTree,
    served: PaymentTree,
    order: Vec<Address>,
}

impl Kept {
    fn new(payees: Vec<(Address, U256)>) -> Result<Self> {
        let order = payees.iter().map(|(payee, _)| *payee).collect();
        let tree = PaymentTree::new(payees)?;
        Ok(Self { served: tree.clone(), tree, order })
    }

    /// One tick, in milliseconds.
    fn tick(&mut self, changes: &[(Address, U256)], threads: usize) -> Result<f64> {
        let start = Instant::now();
        self.tree.update(changes, threads)?;
        self.served = self.tree.clone();
        black_box(self.served.root());
        Ok(ms(start.elapsed()))
    }

    /// How many proofs a second are served, of payees in an order that no cache expects.
    fn proofs(&self, payees: &[(Address, U256)]) -> Result<f64> {
        let start = Instant::now();
        for (payee, _) in payees {
            black_box(self.served.prove(*payee));
        }
        let took = start.elapsed();
        for (payee, amount) in payees.iter().step_by(10_007) {
            let (proven, proof) = self.served.prove(*payee).context("no proof")?;
            let verified = proof.verify(self.served.root(), *payee, *amount);
            ensure!(verified && proven == *amount, "a proof does not hold");
        }
        #[expect(clippy::cast_precision_loss, reason = "a million")]
        Ok(payees.len() as f64 / took.as_secs_f64())
    }

    fn in_order(&self, payees: &[(Address, U256)]) -> Result<Vec<(Address, U256)>> {
        let amounts: std::collections::HashMap<_, _> = payees.iter().copied().collect();
        let amount = |payee| amounts.get(payee).copied().context("no amount");
        self.order.iter().map(|payee| Ok((*payee, amount(payee)?))).collect()
    }
}

/// What the hashes of a full tick cost by themselves, in milliseconds: independent inputs that lie
/// in the CPU's cache.
fn raw() -> f64 {
    let leaves: Vec<[u8; 32]> = (0..=u8::MAX).map(|byte| [byte; 32]).collect();
    let pairs: Vec<[u8; 64]> = (0..=u8::MAX).map(|byte| [byte; 64]).collect();
    let mut hashes = [B256::ZERO; 256];
    let start = Instant::now();
    for _ in 0..SUPPLIERS / 256 {
        for (leaf, hash) in black_box(&leaves).iter().zip(&mut hashes) {
            *hash = keccak256(leaf);
        }
        for (pair, hash) in black_box(&pairs).iter().zip(&mut hashes) {
            *hash = keccak256(pair);
        }
        black_box(&hashes);
    }
    ms(start.elapsed())
}

/// The tick of a grid of three suppliers, in microseconds.
fn small_us(random: &mut StdRng) -> Result<f64> {
    let mut payees: Vec<_> = (1..=3).map(|byte| (Address::repeat_byte(byte), U256::ONE)).collect();
    let mut grid = Kept::new(payees.clone())?;
    let mut times = vec![];
    for _ in 0..1_000 {
        payees.iter_mut().for_each(|(_, amount)| *amount += wei(random));
        times.push(grid.tick(&payees, 2)? * 1_000.0);
    }
    Ok(median(&times))
}

fn wei(random: &mut StdRng) -> U256 {
    U256::from(random.random_range(1..=u64::MAX))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
