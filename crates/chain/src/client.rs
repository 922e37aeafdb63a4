//! A JSON-RPC client of one endpoint, on behalf of one signer: what is read there. What is sent goes
//! through [`crate::sender`].

use std::sync::Arc;

use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, Bytes, U256},
    providers::{DynProvider, Provider as _, ProviderBuilder},
    rpc::{
        client::RpcClient,
        types::{Filter, Log, TransactionReceipt, TransactionRequest},
    },
    sol_types::SolCall,
    transports::{RpcError, TransportError},
};
use tokio::sync::OnceCell;

use crate::{
    ChainError, MemoryJournal, SendPolicy, Signer, Until,
    bounded::{Bounded, printable},
    journal::intent_key,
    refusal::words,
    sender::Sender,
};

/// The connection to one endpoint, on behalf of one signer.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    provider: DynProvider,
    signer: Signer,
    chain: Arc<OnceCell<u64>>,
    /// What [`Self::transact`] sent.
    sent: Arc<MemoryJournal>,
}

impl Client {
    /// A client for `rpc_url`; contacts nothing.
    pub(crate) fn new(rpc_url: &str, signer: impl Into<Signer>) -> Result<Self, ChainError> {
        Ok(Self {
            provider: provider(rpc_url)?,
            signer: signer.into(),
            chain: Arc::default(),
            sent: Arc::default(),
        })
    }

    pub(crate) const fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(crate) const fn provider(&self) -> &DynProvider {
        &self.provider
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

    /// The logs that a filter selects.
    pub(crate) async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, ChainError> {
        self.provider.get_logs(filter).await.map_err(unreachable_or_refused)
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
            .from(self.signer.address())
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

    /// Sends a transaction that is safe to repeat, and waits for it to be mined. After a crash
    /// nobody follows it: whoever sends it looks at the chain first.
    pub(crate) async fn transact(
        &self,
        to: Address,
        data: Bytes,
        value: U256,
    ) -> Result<TransactionReceipt, ChainError> {
        let policy = SendPolicy::for_chain(self.chain_id().await?);
        let sender = Sender::new(self.clone(), self.sent.clone(), policy);
        sender.execute(&intent_key("once"), to, data, value, Until::Mined).await
    }
}

/// The chain that an endpoint serves.
///
/// # Errors
/// Where the URL is none, or the endpoint does not answer.
pub async fn chain_id(rpc_url: &str) -> Result<u64, ChainError> {
    provider(rpc_url)?.get_chain_id().await.map_err(unreachable_or_refused)
}

/// Speaks JSON-RPC over HTTP; contacts nothing yet. Answers are bounded in size and time.
pub(crate) fn provider(rpc_url: &str) -> Result<DynProvider, ChainError> {
    let bad = || ChainError::Url(printable(rpc_url.as_bytes()));
    let url: reqwest::Url = rpc_url.parse().map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    let transport = Bounded::new(url).map_err(|error| ChainError::Rpc(Box::new(error)))?;
    let rpc = RpcClient::new(transport, true);
    Ok(ProviderBuilder::new().disable_recommended_fillers().connect_client(rpc).erased())
}

/// What an endpoint said in refusal, in lower case; `None` where it could not be reached.
pub(crate) fn says(error: &TransportError) -> Option<String> {
    error.as_error_resp().map(|payload| payload.message.to_lowercase())
}

pub(crate) fn unreachable_or_refused(error: TransportError) -> ChainError {
    refused(error, Address::ZERO)
}

pub(crate) fn refused(error: TransportError, from: Address) -> ChainError {
    let RpcError::ErrorResp(payload) = &error else { return ChainError::Rpc(Box::new(error)) };
    if let Some(data) = payload.as_revert_data() {
        return ChainError::Reverted(words(&data));
    }
    let said = payload.message.to_lowercase();
    if said.contains("insufficient funds") || said.contains("lack of funds") {
        return ChainError::NoGas(from);
    }
    if said.contains("revert") {
        return ChainError::Reverted(printable(payload.message.as_bytes()));
    }
    ChainError::Rpc(Box::new(error))
}
