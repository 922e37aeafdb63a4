//! Accounts, bills, and what is paid to whom.

use kinesis_protocol::{
    AccountId, Address, AppId, B256, Counters, Epoch, JoulePrice, LeaseId, NanoJoule, NanoUsd,
    NodeId, Prices, Resources, Tier, U256, root::PaymentProof,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// An account that was just opened. The key is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct NewAccount {
    /// The account.
    #[schema(value_type = String)]
    pub account: AccountId,
    /// The key its owner proves itself with.
    pub api_key: String,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount").field("account", &self.account).finish_non_exhaustive()
    }
}

/// An account and its money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// The account.
    #[schema(value_type = String)]
    pub account: AccountId,
    /// The name it was opened under.
    pub name: String,
    /// What is left.
    #[schema(value_type = i64)]
    pub balance_nanousd: NanoUsd,
}

/// What an app cost, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bill {
    /// The app.
    #[schema(value_type = String)]
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// One line for each lease it had, oldest first: the newest ones.
    pub lines: Vec<BillLine>,
    /// Where there are older lines: ask for those before this lease. The sums are of all lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next: Option<LeaseId>,
    /// What the customer paid.
    #[schema(value_type = i64)]
    pub customer_nanousd: NanoUsd,
    /// What suppliers got of it.
    #[schema(value_type = i64)]
    pub suppliers_nanousd: NanoUsd,
    /// What the utility kept.
    #[schema(value_type = i64)]
    pub margin_nanousd: NanoUsd,
    /// The protocol's fee.
    #[schema(value_type = i64)]
    pub fee_nanousd: NanoUsd,
}

/// What one lease cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BillLine {
    /// The lease.
    #[schema(value_type = String)]
    pub lease: LeaseId,
    /// Which replica, or part.
    pub replica: u32,
    /// Its fencing number.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// The node's name.
    pub node_name: String,
    /// Who was paid.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// What kind of place it is.
    #[schema(value_type = String)]
    pub tier: Tier,
    /// What it was granted.
    #[schema(schema_with = schema::resources)]
    pub granted: Resources,
    /// What it used. Energy says whether it was measured or estimated.
    #[schema(schema_with = schema::counters)]
    pub counters: Counters,
    /// What was agreed per unit.
    #[schema(schema_with = schema::prices)]
    pub prices: Prices,
    /// What the customer paid for it.
    #[schema(value_type = i64)]
    pub billed_nanousd: NanoUsd,
    /// What its supplier got, in USD.
    #[schema(value_type = i64)]
    pub supplier_nanousd: NanoUsd,
    /// What its supplier got, in JOULE.
    #[schema(value_type = i64)]
    pub supplier_nanojoule: NanoJoule,
    /// How it ended, in words; `None` while it lives.
    pub ending: Option<String>,
}

/// The newest signed root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootView {
    /// The utility that signed it.
    #[schema(value_type = String)]
    pub utility: Address,
    /// Its series.
    pub series: u64,
    /// Its number.
    pub tick: u64,
    /// The root of the payment tree.
    #[schema(value_type = String)]
    pub root: B256,
    /// All it pays, in wei of JOULE.
    #[schema(value_type = String)]
    pub total_wei: U256,
    /// How many suppliers it pays.
    pub payees: u32,
    /// When it was signed.
    pub signed_at_ms: u64,
}

/// All money that ever moved. `difference` is zero, or something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TotalsView {
    /// What customers paid.
    #[schema(value_type = i64)]
    pub customer_nanousd: NanoUsd,
    /// What suppliers got of it.
    #[schema(value_type = i64)]
    pub suppliers_nanousd: NanoUsd,
    /// What the utility kept.
    #[schema(value_type = i64)]
    pub margin_nanousd: NanoUsd,
    /// The protocol's fee.
    #[schema(value_type = i64)]
    pub fee_nanousd: NanoUsd,
    /// What the desk paid out in JOULE.
    #[schema(value_type = i64)]
    pub desk_nanojoule: NanoJoule,
    /// What suppliers got in JOULE.
    #[schema(value_type = i64)]
    pub suppliers_nanojoule: NanoJoule,
    /// The protocol's fee in JOULE.
    #[schema(value_type = i64)]
    pub fee_nanojoule: NanoJoule,
    /// How far both sides are apart, in USD and in JOULE added up: always zero.
    pub difference: i64,
}

/// What a supplier has earned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SupplierView {
    /// Its address.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// Everything it ever earned in this series.
    #[schema(value_type = i64)]
    pub cumulative_nanojoule: NanoJoule,
    /// What it can redeem; `None` before its first signed root.
    #[schema(value_type = Option<Object>)]
    pub payment: Option<PaymentProof>,
    /// What one JOULE costs.
    #[schema(value_type = i64)]
    pub joule_price: JoulePrice,
}

/// A supplier's wish to be paid in USD: the right to redeem its proof towards the utility's desk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// What it redeems.
    #[schema(value_type = Object)]
    pub payment: PaymentProof,
    /// Until when its signature holds, in seconds since the Unix epoch.
    pub deadline: u64,
    /// Its signature over the redemption towards the utility.
    #[schema(value_type = String)]
    pub signature: kinesis_protocol::Signature,
}

/// A withdrawal that was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WithdrawalView {
    /// The supplier.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// What was redeemed on chain for it.
    #[schema(value_type = i64)]
    pub redeemed_nanojoule: NanoJoule,
    /// What it is paid.
    #[schema(value_type = i64)]
    pub paid_nanousd: NanoUsd,
    /// Everything it has redeemed so far.
    #[schema(value_type = i64)]
    pub cumulative_nanojoule: NanoJoule,
    /// The transaction; `None` where an earlier one had done it.
    #[schema(value_type = Option<String>)]
    pub transaction: Option<B256>,
}
