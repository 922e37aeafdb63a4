//! A JSON-RPC client that acts as one key: reads, and transactions one after the other.
//!
//! A transaction's nonce is asked for each time, so that several processes may share a key: whoever
//! loses the race for a nonce takes the next one. Nothing here is kept, so nothing can be stale
//! after a restart.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    consensus::TxEnvelope,
    eips::{BlockNumberOrTag, Encodable2718 as _},
    network::{EthereumWallet, NetworkTransactionBuilder as _},
    primitives::{Address, B256, Bytes, TxKind, U256, hex},
    providers::{DynProvider, Provider as _, ProviderBuilder},
    rpc::{
        client::RpcClient,
        types::{TransactionReceipt, TransactionRequest},
    },
    sol_types::{SolCall, SolInterface as _, decode_revert_reason},
    transports::{RpcError, TransportError},
};
use tokio::sync::{Mutex, OnceCell};

use crate::{
    ChainError, Key,
    contracts::{Joule::JouleErrors, PaymentEscrow::PaymentEscrowErrors},
};

/// How long one HTTP exchange may take.
const REQUEST_MAX: Duration = Duration::from_secs(20);
/// How long to wait for a transaction to be mined.
const RECEIPT_MAX: Duration = Duration::from_secs(90);
/// The first and the longest pause between two looks for a receipt.
const RECEIPT_POLL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How often a transaction is signed anew because another process took its nonce.
const NONCE_TRIES_MAX: u32 = 16;

/// The connection to one endpoint, acting as one key.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    provider: DynProvider,
    key: Key,
    sending: Arc<Mutex<()>>,
    chain: Arc<OnceCell<u64>>,
}

impl Client {
    /// A client for `rpc_url`; contacts nothing.
    pub(crate) fn new(rpc_url: &str, key: Key) -> Result<Self, ChainError> {
        let bad = || ChainError::Url(rpc_url.chars().take(200).collect());
        let url: reqwest::Url = rpc_url.parse().map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad());
        }
        // Another part of the process may have chosen a provider already; either serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(REQUEST_MAX)
            .no_proxy()
            .build()
            .map_err(|error| ChainError::Rpc(Box::new(error)))?;
        let rpc = RpcClient::new_http_with_client(http, url);
        let provider =
            ProviderBuilder::new().disable_recommended_fillers().connect_client(rpc).erased();
        Ok(Self { provider, key, sending: Arc::default(), chain: Arc::default() })
    }

    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }

    /// The chain that the endpoint serves, asked once.
    pub(crate) async fn chain_id(&self) -> Result<u64, ChainError> {
        let ask = || async { self.provider.get_chain_id().await.map_err(unreachable_or_refused) };
        self.chain.get_or_try_init(ask).await.copied()
    }

    /// Refuses an endpoint that serves another chain.
    pub(crate) async fn expect_chain(&self, expected: u64) -> Result<(), ChainError> {
        match self.chain_id().await? {
            got if got == expected => Ok(()),
            got => Err(ChainError::WrongChain { expected, got }),
        }
    }

    pub(crate) async fn block_number(&self) -> Result<u64, ChainError> {
        self.provider.get_block_number().await.map_err(unreachable_or_refused)
    }

    pub(crate) async fn balance(&self, of: Address) -> Result<U256, ChainError> {
        self.provider.get_balance(of).await.map_err(unreachable_or_refused)
    }

    pub(crate) async fn has_code(&self, at: Address) -> Result<bool, ChainError> {
        let code = self.provider.get_code_at(at).await.map_err(unreachable_or_refused)?;
        Ok(!code.is_empty())
    }

    /// Calls a view function at the newest block.
    pub(crate) async fn read<C: SolCall>(
        &self,
        contract: Address,
        call: &C,
    ) -> Result<C::Return, ChainError> {
        let request = TransactionRequest::default()
            .from(self.key.address())
            .to(contract)
            .input(Bytes::from(call.abi_encode()).into());
        let output = self
            .provider
            .call(request)
            .block(BlockNumberOrTag::Latest.into())
            .await
            .map_err(unreachable_or_refused)?;
        // An address without code answers with nothing.
        let absent = ChainError::NoContract { what: "contract of ours", address: contract };
        C::abi_decode_returns(&output).map_err(|_| absent)
    }

    /// Calls a function in a transaction and waits for it to be mined.
    pub(crate) async fn send<C: SolCall>(
        &self,
        contract: Address,
        call: &C,
    ) -> Result<TransactionReceipt, ChainError> {
        self.transact(contract, Bytes::from(call.abi_encode()), U256::ZERO).await
    }

    /// Sends a transaction and waits for it to be mined.
    pub(crate) async fn transact(
        &self,
        to: Address,
        data: Bytes,
        value: U256,
    ) -> Result<TransactionReceipt, ChainError> {
        let _one_at_a_time = self.sending.lock().await;
        let from = self.key.address();
        let mut request = TransactionRequest {
            from: Some(from),
            to: Some(TxKind::Call(to)),
            value: Some(value),
            input: data.into(),
            chain_id: Some(self.chain_id().await?),
            ..TransactionRequest::default()
        };
        // Where the contract refuses, this is what says so, before anything is paid.
        let gas = self
            .provider
            .estimate_gas(request.clone())
            .await
            .map_err(|error| refused(error, from))?;
        // The state may move between the estimate and the block: other deposits, other redemptions.
        request.gas = Some(gas + gas / 4);
        let fees = self.provider.estimate_eip1559_fees().await.map_err(unreachable_or_refused)?;
        request.max_fee_per_gas = Some(fees.max_fee_per_gas);
        request.max_priority_fee_per_gas = Some(fees.max_priority_fee_per_gas);
        let hash = self.submit(request).await?;
        let receipt = self.receipt(hash).await?;
        if receipt.status() {
            Ok(receipt)
        } else {
            Err(ChainError::Reverted(format!("transaction {hash} failed")))
        }
    }

    async fn submit(&self, mut request: TransactionRequest) -> Result<B256, ChainError> {
        let from = self.key.address();
        let wallet = EthereumWallet::from(self.key.signer());
        let mut tries = 0;
        loop {
            let nonce = self
                .provider
                .get_transaction_count(from)
                .pending()
                .await
                .map_err(unreachable_or_refused)?;
            request.nonce = Some(nonce);
            let signed: TxEnvelope = request
                .clone()
                .build(&wallet)
                .await
                .map_err(|error| ChainError::Rpc(Box::new(error)))?;
            match self.provider.send_raw_transaction(&signed.encoded_2718()).await {
                Ok(_) => return Ok(*signed.tx_hash()),
                Err(error) => {
                    tries += 1;
                    match says(&error) {
                        // An earlier try of exactly this transaction arrived after all.
                        Some(said)
                            if said.contains("already known")
                                || said.contains("already imported") =>
                        {
                            return Ok(*signed.tx_hash());
                        }
                        Some(said)
                            if tries < NONCE_TRIES_MAX
                                && (said.contains("nonce too low")
                                    || said.contains("underpriced")) =>
                        {
                            let pause = 2 + rand::random_range(0..10) * u64::from(tries);
                            tokio::time::sleep(Duration::from_millis(pause)).await;
                        }
                        _ => return Err(refused(error, from)),
                    }
                }
            }
        }
    }

    async fn receipt(&self, hash: B256) -> Result<TransactionReceipt, ChainError> {
        let until = Instant::now() + RECEIPT_MAX;
        let (mut pause, longest) = RECEIPT_POLL;
        loop {
            // A look that fails is no answer: the transaction is out there all the same.
            if let Ok(Some(receipt)) = self.provider.get_transaction_receipt(hash).await {
                return Ok(receipt);
            }
            if Instant::now() >= until {
                return Err(ChainError::NoReceipt(hash));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// What an endpoint said in refusal, in lower case; `None` where it could not be reached.
fn says(error: &TransportError) -> Option<String> {
    error.as_error_resp().map(|payload| payload.message.to_lowercase())
}

fn unreachable_or_refused(error: TransportError) -> ChainError {
    refused(error, Address::ZERO)
}

fn refused(error: TransportError, from: Address) -> ChainError {
    let RpcError::ErrorResp(payload) = &error else { return ChainError::Rpc(Box::new(error)) };
    if let Some(data) = payload.as_revert_data() {
        return ChainError::Reverted(describe(&data));
    }
    let said = payload.message.to_lowercase();
    if said.contains("insufficient funds") || said.contains("lack of funds") {
        return ChainError::NoGas(from);
    }
    if said.contains("revert") {
        return ChainError::Reverted(payload.message.chars().take(200).collect());
    }
    ChainError::Rpc(Box::new(error))
}

/// The error of a contract in words: one of ours with its values, or what Solidity gave.
fn describe(data: &[u8]) -> String {
    if let Ok(error) = PaymentEscrowErrors::abi_decode(data) {
        return strip(&format!("{error:?}"));
    }
    if let Ok(error) = JouleErrors::abi_decode(data) {
        return strip(&format!("{error:?}"));
    }
    decode_revert_reason(data)
        .filter(|reason| !reason.is_empty())
        .unwrap_or_else(|| format!("0x{}", hex::encode(data.get(..68).unwrap_or(data))))
}

/// `Outer(Inner { a: 1 })` without the outer name, which repeats the inner one.
fn strip(debug: &str) -> String {
    debug.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(debug).to_owned()
}
