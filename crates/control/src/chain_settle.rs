//! Settlement over a chain's JSON-RPC endpoint.

use async_trait::async_trait;
use kinesis_chain::{ChainError, Settlement};
use kinesis_protocol::{
    Address, B256, PaymentRoot, Signature, SignedRoot, U256, root::PaymentProof,
};

use crate::settle::{Cover, Payer, Redemption, Settle, SettleError};

/// A utility's side of settlement on a chain.
#[derive(Debug, Clone)]
pub struct ChainSettle {
    utility: Settlement,
    funder: Settlement,
    series: u64,
}

impl ChainSettle {
    /// Signs and pays as the key of `utility`, in this series.
    #[must_use]
    pub fn new(utility: Settlement, series: u64) -> Self {
        Self { funder: utility.clone(), utility, series }
    }

    /// Deposits come from another key's JOULE: on a development chain, that of who owns the supply.
    #[must_use]
    pub fn funded_by(mut self, funder: Settlement) -> Self {
        self.funder = funder;
        self
    }
}

fn chain(error: ChainError) -> SettleError {
    SettleError::Chain(Box::new(error))
}

#[async_trait]
impl Settle for ChainSettle {
    fn payer(&self) -> Payer {
        Payer {
            utility: self.utility.address(),
            series: self.series,
            chain_id: self.utility.chain_id(),
            escrow: self.utility.escrow_address(),
        }
    }

    fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError> {
        Ok(self.utility.sign_root(root))
    }

    async fn fee_bp(&self) -> Result<u32, SettleError> {
        self.utility.fee_bp().await.map_err(chain)
    }

    async fn cover(&self) -> Result<Cover, SettleError> {
        let escrow = self.utility.escrow(self.utility.address(), self.series).await;
        let escrow = escrow.map_err(chain)?;
        Ok(Cover { redeemed_wei: escrow.redeemed_wei, available_wei: escrow.available_wei })
    }

    async fn balance(&self) -> Result<U256, SettleError> {
        self.funder.joule_balance(self.funder.address()).await.map_err(chain)
    }

    async fn deposit(&self, wei: U256) -> Result<(), SettleError> {
        let utility = self.utility.address();
        self.funder.deposit(utility, self.series, wei).await.map(|_| ()).map_err(chain)
    }

    async fn redeem_to_payer(
        &self,
        payment: &PaymentProof,
        deadline: u64,
        signature: &Signature,
    ) -> Result<Redemption, SettleError> {
        let to = self.utility.address();
        if !self.utility.verify_redeem_to(payment, to, deadline, signature) {
            return Err(SettleError::Consent);
        }
        let redeemed = self.utility.redeem_to(payment, to, deadline, signature).await;
        let redeemed = redeemed.map_err(chain)?;
        Ok(Redemption { paid_wei: redeemed.paid_wei, transaction: redeemed.transaction })
    }
}

/// The transaction's hash as the ledger keeps it.
pub(crate) fn hash_text(transaction: Option<B256>) -> Option<String> {
    transaction.map(|hash| hash.to_string())
}

/// The payee of a proof is who it says.
pub(crate) fn is_ours(payment: &PaymentProof, payer: &Payer, supplier: Address) -> bool {
    payment.supplier == supplier
        && payment.signed.root.utility == payer.utility
        && payment.signed.root.series == payer.series
        && payment.verify(payer.chain_id, payer.escrow)
}
