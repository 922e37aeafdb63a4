//! What the protocol's people do: bond and thaw stake, lend and borrow it, propose and vote, ask the
//! exchange for its price, accuse whoever signed two things, and look at a utility's books.
//!
//! | module | is |
//! | --- | --- |
//! | [`stake`] | bonds, claims on nodes, offers of utilities |
//! | [`pool`] | investors' deposits and suppliers' loans |
//! | [`governance`] | proposals, from a word to calls, and their way through vote and timelock |
//! | [`exchange`] | quotes and prices |
//! | [`disputes`] | accusations and cases |
//! | [`audit`] | what can be found in signed roots and proofs, by anybody |
//!
//! A call that would fail is refused before anything is sent. What is read before a transaction can
//! change until it is mined: the contracts decide, and everything here only says it sooner.

pub mod audit;
pub mod disputes;
pub mod exchange;
pub mod governance;
pub mod pool;
pub mod stake;

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::{Filter, Log, TransactionReceipt},
    sol_types::{SolCall, SolEvent},
};

use crate::{
    ChainError, Contracts, Joules, ProtocolContracts, Signer, client::Client, contracts::Joule,
};

/// The whole protocol on one chain, on behalf of one signer.
#[derive(Debug, Clone)]
pub struct Protocol {
    client: Client,
    contracts: Contracts,
    at: ProtocolContracts,
}

impl Protocol {
    /// A client; contacts nothing yet.
    ///
    /// # Errors
    /// Where the URL is none, or only the escrow is known.
    pub fn new(
        rpc_url: &str,
        contracts: Contracts,
        signer: impl Into<Signer>,
    ) -> Result<Self, ChainError> {
        let at = contracts.protocol()?;
        Ok(Self { client: Client::new(rpc_url, signer)?, contracts, at })
    }

    /// Whom this client acts as.
    #[must_use]
    pub fn address(&self) -> Address {
        self.client.signer().address()
    }

    /// Where the contracts are.
    #[must_use]
    pub const fn contracts(&self) -> &Contracts {
        &self.contracts
    }

    /// Checks that the endpoint serves the right chain and has the protocol.
    ///
    /// # Errors
    /// Where one of these does not hold.
    pub async fn check(&self) -> Result<(), ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        if self.client.has_code(self.at.registry).await? {
            return Ok(());
        }
        Err(ChainError::NoContract { what: "protocol of ours", address: self.at.registry })
    }

    /// The time on chain, in seconds since 1970.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn now_s(&self) -> Result<u64, ChainError> {
        // By the clock that votes are counted by: a chain without transactions has an old block.
        let clock = self.read(self.contracts.joule, &Joule::clockCall {}).await?;
        Ok(clock.to())
    }

    /// How much JOULE an address holds, in wei.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn balance(&self, of: Address) -> Result<U256, ChainError> {
        self.read(self.contracts.joule, &Joule::balanceOfCall { account: of }).await
    }

    async fn read<C: SolCall>(&self, at: Address, call: &C) -> Result<C::Return, ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        self.client.read(at, call).await
    }

    async fn send<C: SolCall>(
        &self,
        at: Address,
        call: &C,
    ) -> Result<TransactionReceipt, ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        self.client.send(at, call).await
    }

    async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        self.client.logs(filter).await
    }

    /// Lets `spender` take this much JOULE, where it may not yet.
    async fn allow(&self, spender: Address, value: U256) -> Result<(), ChainError> {
        let joule = self.contracts.joule;
        let (account, has) = (self.address(), self.balance(self.address()).await?);
        if has < value {
            // As the token would say it, which knows no units.
            let (has, value) = (Joules(has), Joules(value));
            return Err(ChainError::Reverted(format!(
                "ERC20InsufficientBalance: {account} has {has} JOULE and needs {value}"
            )));
        }
        let allowance = Joule::allowanceCall { owner: self.address(), spender };
        if self.read(joule, &allowance).await? < value {
            self.send(joule, &Joule::approveCall { spender, value }).await?;
        }
        Ok(())
    }
}

/// The event that a successful call must have emitted.
fn event<E: SolEvent>(receipt: &TransactionReceipt, contract: Address) -> Result<E, ChainError> {
    receipt
        .logs()
        .iter()
        .filter(|log| log.address() == contract)
        .find_map(|log| E::decode_log(&log.inner).ok())
        .map(|log| log.data)
        .ok_or(ChainError::NoContract { what: "contract of this version", address: contract })
}

/// The transaction of a receipt.
const fn hash(receipt: &TransactionReceipt) -> B256 {
    receipt.transaction_hash
}
