//! Sends each intent's call once, whatever happens in between.
//!
//! See [`crate::journal`] for the states. The rules that keep a call from happening twice:
//!
//! * nothing is sent that is not in the journal, and the journal gives a nonce to one open intent;
//! * what may have been seen by a node is followed at its nonce until that nonce is final;
//! * an answer that does not come says nothing: the chain is asked again.

mod look;
mod policy;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::Encodable2718 as _,
    primitives::{Address, B256, Bytes, TxKind, U256},
    providers::Provider as _,
    rpc::types::{TransactionReceipt, TransactionRequest},
    transports::TransportError,
};
use tokio::sync::Mutex;
use tracing::{info, warn};

use look::Seen;
pub use policy::{Finality, SendPolicy, Until};

use crate::{
    ChainError, MemoryJournal,
    client::{Client, refused, says, unreachable_or_refused},
    journal::{Attempt, Intent, Journal, KEY_BYTES_MAX, Recorded},
};

/// How often another nonce is tried because another process took the last.
const NONCE_TRIES_MAX: u32 = 16;
/// Gas beyond the estimate: four new slots. What is not used is not paid.
const GAS_SPARE: u64 = 100_000;
/// The most signed transactions for one intent.
const ATTEMPTS_MAX: usize = 24;
/// The first and the longest pause between two looks at the chain.
const POLL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// What became of signed bytes that were sent.
enum Sent {
    /// A node has them, or something else at their nonce.
    Taken,
    /// The endpoint gave no answer.
    Unknown,
    /// The node refused.
    Refused(ChainError),
}

/// Sends as one signer, by one journal. Clones share both.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    client: Client,
    journal: Arc<dyn Journal>,
    policy: SendPolicy,
    planning: Arc<Mutex<()>>,
    waiting: Arc<parking_lot::Mutex<HashMap<B256, Waiting>>>,
    /// The keys of open intents that whoever asked for them was told are mined.
    told: Arc<parking_lot::Mutex<HashSet<String>>>,
}

/// How long this process has waited for a transaction to be mined.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    /// When this process last sent it; `None` where another did, or nobody.
    sent_at: Option<Instant>,
}

impl Sender {
    pub(crate) fn new(client: Client, journal: Arc<dyn Journal>, policy: SendPolicy) -> Self {
        Self {
            client,
            journal,
            policy,
            planning: Arc::default(),
            waiting: Arc::default(),
            told: Arc::default(),
        }
    }

    /// A sender that is forgotten with its process, by a chain's own policy.
    pub(crate) fn in_memory(client: Client, chain_id: u64) -> Self {
        let journal = Arc::new(MemoryJournal::default());
        Self::new(client, journal, SendPolicy::for_chain(chain_id))
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn with_journal(self, journal: Arc<dyn Journal>) -> Self {
        Self { journal, ..self }
    }

    pub(crate) fn with_policy(self, policy: SendPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Has a call happen once for each key and gives its receipt. Asked again, at any time and by
    /// any process with this journal, it gives the same.
    pub(crate) async fn execute(
        &self,
        key: &str,
        to: Address,
        data: Bytes,
        value: U256,
        until: Until,
    ) -> Result<TransactionReceipt, ChainError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(ChainError::KeyReused(key.chars().take(40).collect()));
        }
        let fresh = Intent {
            key: key.to_owned(),
            chain_id: self.client.chain_id().await?,
            sender: self.client.signer().address(),
            to,
            data,
            value,
            nonce: 0,
            attempts: Vec::new(),
            receipt: None,
            revision: 0,
        };
        let intent = match self.find(key).await? {
            // Final and without effect: the key is free.
            Some(failed) if failed.receipt.as_ref().is_some_and(|receipt| !receipt.status()) => {
                self.plan(Intent { revision: failed.revision, ..fresh }, false).await?
            }
            Some(known) if !known.is_call(&fresh) => {
                return Err(ChainError::KeyReused(key.to_owned()));
            }
            Some(known) => known,
            None => self.plan(fresh, true).await?,
        };
        self.follow(intent, until).await
    }

    /// The intent of a key.
    pub(crate) async fn find(&self, key: &str) -> Result<Option<Intent>, ChainError> {
        let chain_id = self.client.chain_id().await?;
        let found = self.journal.get(chain_id, self.client.signer().address(), key).await;
        found.map_err(ChainError::Journal)
    }

    /// The open intents whose keys start so, in order of nonce.
    pub(crate) async fn open(&self, prefix: &str) -> Result<Vec<Intent>, ChainError> {
        let chain_id = self.client.chain_id().await?;
        let open = self.journal.open(chain_id, self.client.signer().address()).await;
        let mut open = open.map_err(ChainError::Journal)?;
        open.retain(|intent| intent.key.starts_with(prefix));
        Ok(open)
    }

    /// Looks once at every open intent: records what is final, sends again what is not mined.
    /// Returns how many are still open.
    pub(crate) async fn settle(&self) -> Result<usize, ChainError> {
        let mut open = 0;
        for intent in self.open("").await? {
            match self.advance(intent, false).await {
                Ok((intent, _)) => open += usize::from(intent.is_open()),
                // It had no effect and never will.
                Err(ChainError::Reverted(_)) => {}
                Err(error) if error.is_unreachable() => open += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(open)
    }

    /// Gives an intent a nonce and its first signed transaction, records it and sends it.
    async fn plan(&self, mut intent: Intent, new: bool) -> Result<Intent, ChainError> {
        let from = intent.sender;
        let mut request = TransactionRequest {
            from: Some(from),
            to: Some(TxKind::Call(intent.to)),
            value: Some(intent.value),
            chain_id: Some(intent.chain_id),
            ..TransactionRequest::default()
        };
        request.input = intent.data.clone().into();
        let provider = self.client.provider();
        // Where the contract refuses, this is what says so, before anything is paid.
        let gas = provider.estimate_gas(request).await.map_err(|error| refused(error, from))?;
        // The state may move between estimate and block: other deposits, other redemptions, and a new
        // second, in which votes are noted in slots of their own.
        let gas = gas.saturating_add(gas / 4).saturating_add(GAS_SPARE);
        let (max_fee_per_gas, priority_fee_per_gas) = self.fees().await?;
        let _one_at_a_time = self.planning.lock().await;
        let mut tries = 0;
        loop {
            tries += 1;
            intent.nonce = self.next_nonce().await?;
            let first = self.sign(&intent, gas, max_fee_per_gas, priority_fee_per_gas).await?;
            intent.attempts = vec![first];
            let written = if new {
                self.journal.insert(&intent).await
            } else {
                self.journal.update(&intent).await
            };
            match written.map_err(ChainError::Journal)? {
                Recorded::Done => intent.revision += u64::from(!new),
                // Another process went on with it.
                Recorded::Stale => return self.reload(&intent).await,
                Recorded::KeyTaken(known) if known.is_call(&intent) => return Ok(*known),
                Recorded::KeyTaken(known) => return Err(ChainError::KeyReused(known.key)),
                Recorded::NonceTaken if tries < NONCE_TRIES_MAX => {
                    backoff(tries).await;
                    continue;
                }
                Recorded::NonceTaken => return Err(ChainError::NoNonce),
            }
            match self.broadcast(&intent).await {
                // Also where the nonce seems spent: another instance may have sent these very bytes
                // a moment ago. Whose it is will be seen once it is final.
                Sent::Taken | Sent::Unknown => return Ok(intent),
                Sent::Refused(error) => return self.give_up(intent, error).await,
            }
        }
    }

    /// Forgets an intent that cannot happen any more: no node took its bytes, or its nonce is
    /// another's for good.
    async fn give_up(&self, intent: Intent, error: ChainError) -> Result<Intent, ChainError> {
        self.waiting.lock().remove(&intent.hash());
        let removed = self.journal.remove(intent.chain_id, intent.sender, &intent.key).await;
        removed.map_err(ChainError::Journal)?;
        Err(error)
    }

    /// The intent as the journal has it now.
    async fn reload(&self, intent: &Intent) -> Result<Intent, ChainError> {
        self.find(&intent.key).await?.ok_or(ChainError::NoReceipt(intent.hash()))
    }

    /// Waits for an intent, sending again where need be.
    pub(crate) async fn follow(
        &self,
        mut intent: Intent,
        until: Until,
    ) -> Result<TransactionReceipt, ChainError> {
        let started = Instant::now();
        let (mut pause, longest) = POLL;
        loop {
            let known = intent.clone();
            intent = match self.advance(intent, true).await {
                Ok((Intent { receipt: Some(receipt), .. }, _)) => return outcome(receipt),
                Ok((intent, Some(receipt))) if until == Until::Mined => {
                    self.told.lock().insert(intent.key);
                    return outcome(*receipt);
                }
                Ok((intent, _)) => intent,
                // A look that fails is no answer: the transaction is out there all the same.
                Err(error) if error.is_unreachable() => known,
                Err(error) => return Err(error),
            };
            if started.elapsed() >= self.policy.wait_max {
                return Err(ChainError::NoReceipt(intent.hash()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Waits until the open intents whose keys start with `prefix` are mined. Returns whether any of
    /// them was news: not mined at first, or mined without anybody having been told, as after a
    /// restart.
    pub(crate) async fn finish(&self, prefix: &str) -> Result<bool, ChainError> {
        let mut news = false;
        for intent in self.open(prefix).await? {
            let (key, known) = (intent.key.clone(), intent.clone());
            let looked = match self.advance(intent, true).await {
                Err(error) if error.is_unreachable() => (known, None),
                Err(ChainError::Reverted(_)) => {
                    news = true;
                    continue;
                }
                other => other?,
            };
            if let (_, Some(_)) = looked
                && self.told.lock().contains(&key)
            {
                continue;
            }
            news = true;
            match self.follow(looked.0, Until::Mined).await {
                // It had no effect: whoever asks computes anew.
                Ok(_) | Err(ChainError::Reverted(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(news)
    }

    /// Looks at the chain once and does what is to be done. Returns the intent as it is now, and its
    /// receipt where it is in a block that may still be taken back.
    async fn advance(
        &self,
        mut intent: Intent,
        eager: bool,
    ) -> Result<(Intent, Option<Box<TransactionReceipt>>), ChainError> {
        if !intent.is_open() {
            return Ok((intent, None));
        }
        Ok(match self.look(&intent).await? {
            Seen::Final(receipt) => {
                self.waiting.lock().remove(&intent.hash());
                self.told.lock().remove(&intent.key);
                intent.receipt = Some(*receipt);
                (self.record(intent).await?, None)
            }
            Seen::Mined(receipt) => (intent, Some(receipt)),
            Seen::Lost => {
                info!(key = intent.key, nonce = intent.nonce, "the nonce is another's for good");
                let lost = intent.clone();
                let planned = match self.plan(intent, false).await {
                    Err(error @ ChainError::Reverted(_)) => self.give_up(lost, error).await?,
                    planned => planned?,
                };
                (planned, None)
            }
            Seen::Nowhere => (self.nudge(intent, eager).await?, None),
        })
    }

    /// Records a change; where another process was faster, takes over what that one recorded.
    async fn record(&self, mut intent: Intent) -> Result<Intent, ChainError> {
        match self.journal.update(&intent).await.map_err(ChainError::Journal)? {
            Recorded::Done => {
                intent.revision += 1;
                Ok(intent)
            }
            _ => self.reload(&intent).await,
        }
    }

    /// Sends an unmined intent again, or offers a higher fee, when it is time. Who is not `eager`
    /// leaves the first sending to whoever recorded it for a while.
    async fn nudge(&self, intent: Intent, eager: bool) -> Result<Intent, ChainError> {
        let now = Instant::now();
        let new = Waiting { since: now, sent_at: (!eager).then_some(now) };
        // After a restart nobody knows whether the bytes ever left, nor since when they wait.
        let waits = *self.waiting.lock().entry(intent.hash()).or_insert(new);
        if now.duration_since(waits.since) >= self.policy.replace_after
            && let Some(raised) = self.raise(&intent).await?
        {
            return Ok(raised);
        }
        let again = |at: Instant| now.duration_since(at) >= self.policy.resend_after;
        if waits.sent_at.is_none_or(again) {
            // Whatever the node says, the chain has the last word.
            self.broadcast(&intent).await;
        }
        Ok(intent)
    }

    /// The first nonce that neither the chain nor the journal knows of.
    async fn next_nonce(&self) -> Result<u64, ChainError> {
        let from = self.client.signer().address();
        let pending = self.client.provider().get_transaction_count(from).pending().await;
        let mut nonce = pending.map_err(unreachable_or_refused)?;
        // In order of nonce: gaps are filled first.
        for intent in self.open("").await? {
            nonce += u64::from(intent.nonce == nonce);
        }
        Ok(nonce)
    }

    /// What a unit of gas costs now: the most, and the part that goes to whoever builds the block.
    async fn fees(&self) -> Result<(u128, u128), ChainError> {
        let fees = self.client.provider().estimate_eip1559_fees().await;
        let fees = fees.map_err(unreachable_or_refused)?;
        let most = fees.max_fee_per_gas.min(self.policy.fee_per_gas_max);
        Ok((most, fees.max_priority_fee_per_gas.min(most)))
    }

    /// Offers a higher fee at the same nonce; `None` where the policy allows no more.
    async fn raise(&self, intent: &Intent) -> Result<Option<Intent>, ChainError> {
        let Some(last) = intent.attempts.last() else { return Ok(None) };
        let (most, tip) = match self.fees().await {
            Ok(fees) => fees,
            Err(error) if error.is_unreachable() => return Ok(None),
            Err(error) => return Err(error),
        };
        // Nodes want a tenth more of both; a quarter is more than any of them asks.
        let more = |wei: u128| wei.saturating_add(wei / 4).saturating_add(1);
        let most = more(last.max_fee_per_gas).max(most);
        let tip = more(last.priority_fee_per_gas).max(tip);
        if most > self.policy.fee_per_gas_max || intent.attempts.len() >= ATTEMPTS_MAX {
            warn!(key = intent.key, nonce = intent.nonce, "it waits, and no higher fee is allowed");
            return Ok(None);
        }
        let attempt = self.sign(intent, last.gas, most, tip).await?;
        info!(key = intent.key, nonce = intent.nonce, hash = %attempt.hash, "offers a higher fee");
        let mut raised = intent.clone();
        raised.attempts.push(attempt);
        let recorded = self.record(raised).await?;
        self.waiting.lock().remove(&intent.hash());
        self.broadcast(&recorded).await;
        Ok(Some(recorded))
    }

    async fn sign(
        &self,
        intent: &Intent,
        gas: u64,
        max_fee_per_gas: u128,
        priority_fee_per_gas: u128,
    ) -> Result<Attempt, ChainError> {
        let transaction = TxEip1559 {
            chain_id: intent.chain_id,
            nonce: intent.nonce,
            gas_limit: gas,
            max_fee_per_gas,
            max_priority_fee_per_gas: priority_fee_per_gas,
            to: TxKind::Call(intent.to),
            value: intent.value,
            input: intent.data.clone(),
            ..TxEip1559::default()
        };
        let signature = self.client.signer().sign_transaction(&transaction).await?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        Ok(Attempt {
            hash: *signed.tx_hash(),
            raw: signed.encoded_2718().into(),
            gas,
            max_fee_per_gas,
            priority_fee_per_gas,
        })
    }

    /// Sends the newest signed bytes, which the journal has.
    async fn broadcast(&self, intent: &Intent) -> Sent {
        let Some(attempt) = intent.attempts.last() else { return Sent::Unknown };
        let now = Instant::now();
        let mut sent = Waiting { since: now, sent_at: Some(now) };
        {
            let mut waiting = self.waiting.lock();
            sent.since = waiting.get(&attempt.hash).map_or(now, |waits| waits.since);
            waiting.insert(attempt.hash, sent);
        }
        match self.client.provider().send_raw_transaction(&attempt.raw).await {
            Ok(_) => Sent::Taken,
            Err(error) => judge(error, intent.sender),
        }
    }
}

/// What a node meant by refusing signed bytes.
fn judge(error: TransportError, from: Address) -> Sent {
    let Some(said) = says(&error) else { return Sent::Unknown };
    let has = |words: &str| said.contains(words);
    let known = ["already known", "already imported", "already exists"];
    let spent = ["nonce too low", "replacement"];
    if known.into_iter().chain(spent).any(has) {
        Sent::Taken
    } else {
        Sent::Refused(refused(error, from))
    }
}

/// The receipt of a call with effect.
fn outcome(receipt: TransactionReceipt) -> Result<TransactionReceipt, ChainError> {
    if receipt.status() {
        Ok(receipt)
    } else {
        let hash = receipt.transaction_hash;
        Err(ChainError::Reverted(format!("transaction {hash} failed")))
    }
}

/// A short pause, longer and more random the more often.
async fn backoff(tries: u32) {
    let pause = 2 + rand::random_range(0..10) * u64::from(tries);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
