//! What can be proposed, in words, and the calls that it comes to.

use std::fmt;

use alloy::{
    dyn_abi::{DynSolType, JsonAbiExt as _},
    json_abi::Function,
    primitives::{Address, Bytes, Selector, U256},
    sol_types::SolCall,
};
use serde::{Deserialize, Serialize};

use crate::{
    ChainError, Contracts, Joules,
    amount::{decimal, span},
    contracts::{
        Disputes, Exchange, Grants, Joule, PaymentEscrow, Registry, StakePool, Treasury, interfaces,
    },
    refusal::other,
};

/// The most arguments of a call that is written by hand.
const ARGUMENTS_MAX: usize = 16;

/// Something that the DAO can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets the protocol fee, in basis points.
    SetFee(u64),
    /// Sets what a year may add to the supply, in basis points, from the next year on.
    SetEmission(u64),
    /// Sets how long stake thaws, in seconds.
    SetThaw(u64),
    /// Sets how long a utility's withdrawal thaws, in seconds.
    SetWithdrawalDelay(u64),
    /// Sets the stake that each claim on a node needs.
    SetNodeBond(Joules),
    /// Sets the stake that a utility's offer needs.
    SetUtilityBond(Joules),
    /// Sets the exchange's trading fee, in basis points.
    SetExchangeFee(u64),
    /// Sets who may give credit from the pool.
    SetUnderwriter(Address),
    /// Sets who may stop a dispute beside the DAO.
    SetGuardian(Address),
    /// Mints within the year's emission.
    Mint {
        /// Who receives it.
        to: Address,
        /// How much.
        amount: Joules,
    },
    /// Pays from the treasury.
    Pay {
        /// Who receives it.
        to: Address,
        /// How much.
        amount: Joules,
    },
    /// Pays from the treasury, as it vests.
    Grant {
        /// Who receives it.
        to: Address,
        /// How much in all.
        amount: Joules,
        /// How long nothing is paid, in seconds from the proposal.
        cliff_s: u64,
        /// After how long all of it is, in seconds from the proposal.
        duration_s: u64,
    },
    /// Takes back what has not vested of a grant, to the treasury.
    Revoke(U256),
    /// Puts a contract on another implementation. Its state stays.
    Upgrade {
        /// Which contract.
        contract: Upgradeable,
        /// The implementation, deployed before.
        implementation: Address,
    },
    /// A call that has no word here.
    Call(Call),
}

/// A contract that a vote can upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of the contracts")]
pub enum Upgradeable {
    Joule,
    Escrow,
    Registry,
    Pool,
    Disputes,
    Audits,
    Leases,
    Exchange,
    Treasury,
    Grants,
    Governor,
}

impl Upgradeable {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Joule,
        Self::Escrow,
        Self::Registry,
        Self::Pool,
        Self::Disputes,
        Self::Audits,
        Self::Leases,
        Self::Exchange,
        Self::Treasury,
        Self::Grants,
        Self::Governor,
    ];

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joule => "joule",
            Self::Escrow => "escrow",
            Self::Registry => "registry",
            Self::Pool => "pool",
            Self::Disputes => "disputes",
            Self::Audits => "audits",
            Self::Leases => "leases",
            Self::Exchange => "exchange",
            Self::Treasury => "treasury",
            Self::Grants => "grants",
            Self::Governor => "governor",
        }
    }

    /// Its proxy.
    ///
    /// # Errors
    /// Where only the escrow is known.
    pub fn address(self, contracts: &Contracts) -> Result<Address, ChainError> {
        let at = contracts.protocol()?;
        Ok(match self {
            Self::Joule => contracts.joule,
            Self::Escrow => contracts.escrow,
            Self::Registry => at.registry,
            Self::Pool => at.pool,
            Self::Disputes => at.disputes,
            Self::Audits => at.audits,
            Self::Leases => at.leases,
            Self::Exchange => at.exchange,
            Self::Treasury => at.treasury,
            Self::Grants => at.grants,
            Self::Governor => at.governor,
        })
    }
}

/// One call of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Whom the timelock calls.
    pub target: Address,
    /// What it sends along, in wei of the native coin.
    pub value: U256,
    /// With what.
    pub data: Bytes,
}

impl Call {
    fn new<C: SolCall>(target: Address, call: &C) -> Self {
        Self { target, value: U256::ZERO, data: call.abi_encode().into() }
    }

    /// A call that is written by hand: a signature such as `setFee(uint16)` and its arguments.
    ///
    /// # Errors
    /// Where the signature is none, or the arguments are not what it takes.
    pub fn parse(
        target: Address,
        signature: &str,
        arguments: &[String],
    ) -> Result<Self, ChainError> {
        let senseless = |why: String| ChainError::Senseless(why);
        let function = Function::parse(signature).map_err(|_| {
            senseless(format!("\"{signature}\" is no signature such as setFee(uint16)"))
        })?;
        if function.inputs.len() != arguments.len() || arguments.len() > ARGUMENTS_MAX {
            return Err(senseless(format!(
                "{signature} takes {} arguments, {} were given",
                function.inputs.len(),
                arguments.len()
            )));
        }
        let mut values = Vec::new();
        for (input, text) in function.inputs.iter().zip(arguments) {
            let value = DynSolType::parse(&input.ty).and_then(|kind| kind.coerce_str(text));
            values.push(
                value.map_err(|_| {
                    senseless(format!("\"{text}\" is no value of type {}", input.ty))
                })?,
            );
        }
        let data = function
            .abi_encode_input(&values)
            .map_err(|error| senseless(format!("{signature}: {error}")))?;
        Ok(Self { target, value: U256::ZERO, data: data.into() })
    }

    /// What the call does, as far as the interfaces of the protocol tell.
    #[must_use]
    pub fn in_words(&self, contracts: &Contracts) -> String {
        let place = place(self.target, contracts);
        let name = place.map_or_else(|| self.target.to_string(), |(name, _)| name.to_owned());
        let said = self.function(place).unwrap_or_else(|| self.data.to_string());
        format!("{name}.{said}")
    }

    /// The function and its arguments by name, where the target's interface has it.
    fn function(&self, place: Option<(&'static str, &'static str)>) -> Option<String> {
        let (_, interface) = place?;
        let selector = Selector::try_from(self.data.get(..4)?).ok()?;
        let abi = interfaces().get(interface)?;
        let function = abi.functions().find(|function| function.selector() == selector)?;
        let values = function.abi_decode_input(self.data.get(4..)?).ok()?;
        let named = function.inputs.iter().zip(&values);
        let all: Vec<_> = named
            .map(|(input, value)| format!("{}: {}", input.name.trim_end_matches('_'), other(value)))
            .collect();
        Some(format!("{}({})", function.name, all.join(", ")))
    }
}

/// What stands at an address, and which interface it has.
fn place(at: Address, contracts: &Contracts) -> Option<(&'static str, &'static str)> {
    let mut all =
        vec![(contracts.joule, "joule", "Joule"), (contracts.escrow, "escrow", "PaymentEscrow")];
    if let Some(more) = contracts.protocol {
        all.extend([
            (more.timelock, "timelock", "TimelockController"),
            (more.governor, "governor", "KinesisGovernor"),
            (more.treasury, "treasury", "Treasury"),
            (more.registry, "registry", "Registry"),
            (more.pool, "pool", "StakePool"),
            (more.disputes, "disputes", "Disputes"),
            (more.audits, "audits", "Audits"),
            (more.leases, "leases", "Leases"),
            (more.exchange, "exchange", "Exchange"),
            (more.grants, "grants", "Grants"),
            (more.usd, "usd", "DevDollar"),
        ]);
    }
    let found = all.into_iter().find(|(address, ..)| *address == at)?;
    Some((found.1, found.2))
}

/// A number as the contract's function takes it.
fn fits<T: TryFrom<u64>>(number: u64) -> Result<T, ChainError> {
    T::try_from(number)
        .map_err(|_| ChainError::Senseless(format!("{number} is more than any contract takes")))
}

impl Action {
    /// Refuses a value outside of what a contract's code allows.
    pub(super) fn check_bounds(&self, least: u64, most: u64) -> Result<(), ChainError> {
        let (value, in_bp) = match self {
            Self::SetFee(bp) | Self::SetEmission(bp) | Self::SetExchangeFee(bp) => (*bp, true),
            Self::SetThaw(seconds) | Self::SetWithdrawalDelay(seconds) => (*seconds, false),
            _ => return Ok(()),
        };
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(ChainError::Senseless(if in_bp {
            let percent = |bp| decimal(U256::from(bp), 2);
            let (is, cap) = (percent(value), percent(most));
            format!("{value} bp is {is} %: the contract's cap is {most} bp, {cap} %")
        } else {
            let (is, least, most) = (span(value), span(least), span(most));
            format!("the contract takes {least} to {most}, not {is}")
        }))
    }

    /// The calls that it comes to; times are counted from `now_s`, in seconds since 1970.
    pub(super) fn calls(&self, contracts: &Contracts, now_s: u64) -> Result<Vec<Call>, ChainError> {
        let at = contracts.protocol()?;
        let one = |target, call: Call| Ok(vec![Call { target, ..call }]);
        match self {
            Self::SetFee(bp) => {
                let call = PaymentEscrow::setFeeCall { feeBp_: fits(*bp)? };
                one(contracts.escrow, Call::new(contracts.escrow, &call))
            }
            Self::SetEmission(bp) => {
                let call = Joule::setYearlyEmissionCall { yearlyEmissionBp_: fits(*bp)? };
                one(contracts.joule, Call::new(contracts.joule, &call))
            }
            Self::SetThaw(seconds) => {
                let call = Registry::setThawCall { thaw_: fits(*seconds)? };
                one(at.registry, Call::new(at.registry, &call))
            }
            Self::SetWithdrawalDelay(seconds) => {
                let call =
                    PaymentEscrow::setWithdrawalDelayCall { withdrawalDelay_: fits(*seconds)? };
                one(contracts.escrow, Call::new(contracts.escrow, &call))
            }
            Self::SetNodeBond(amount) => {
                let call = Registry::setNodeBondCall { nodeBond_: amount.0 };
                one(at.registry, Call::new(at.registry, &call))
            }
            Self::SetUtilityBond(amount) => {
                let call = Registry::setUtilityBondCall { utilityBond_: amount.0 };
                one(at.registry, Call::new(at.registry, &call))
            }
            Self::SetExchangeFee(bp) => {
                let call = Exchange::setFeeCall { feeBp_: fits(*bp)? };
                one(at.exchange, Call::new(at.exchange, &call))
            }
            Self::SetUnderwriter(who) => {
                let call = StakePool::setUnderwriterCall { underwriter_: *who };
                one(at.pool, Call::new(at.pool, &call))
            }
            Self::SetGuardian(who) => {
                let call = Disputes::setGuardianCall { guardian_: *who };
                one(at.disputes, Call::new(at.disputes, &call))
            }
            Self::Mint { to, amount } => {
                let call = Joule::mintCall { to: *to, amount: amount.0 };
                one(contracts.joule, Call::new(contracts.joule, &call))
            }
            Self::Pay { to, amount } => Ok(vec![pay(contracts, *to, *amount)?]),
            Self::Grant { to, amount, cliff_s, duration_s } => {
                if cliff_s > duration_s || *duration_s == 0 {
                    return Err(ChainError::Senseless(format!(
                        "a grant of {duration_s} s cannot have its cliff after {cliff_s} s"
                    )));
                }
                let award = Grants::awardCall {
                    grantee: *to,
                    amount: amount.0,
                    start: now_s,
                    cliff: now_s.saturating_add(*cliff_s),
                    end: now_s.saturating_add(*duration_s),
                };
                let paid = pay(contracts, at.grants, *amount)?;
                Ok(vec![paid, Call::new(at.grants, &award)])
            }
            Self::Revoke(id) => {
                let call = Grants::revokeCall { id: *id, to: at.treasury };
                one(at.grants, Call::new(at.grants, &call))
            }
            Self::Upgrade { contract, implementation } => {
                // Every proxy of ours has this function.
                let call = Joule::upgradeToAndCallCall {
                    newImplementation: *implementation,
                    data: Bytes::new(),
                };
                let proxy = contract.address(contracts)?;
                one(proxy, Call::new(proxy, &call))
            }
            Self::Call(call) => Ok(vec![call.clone()]),
        }
    }
}

fn pay(contracts: &Contracts, to: Address, amount: Joules) -> Result<Call, ChainError> {
    let call = Treasury::payCall { token: contracts.joule, to, amount: amount.0 };
    Ok(Call::new(contracts.protocol()?.treasury, &call))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |bp: &u64| decimal(U256::from(*bp), 2);
        match self {
            Self::SetFee(bp) => write!(f, "Set the protocol fee to {} %", percent(bp)),
            Self::SetEmission(bp) => write!(f, "Let a year add {} % to the supply", percent(bp)),
            Self::SetThaw(s) => write!(f, "Let stake thaw for {}", span(*s)),
            Self::SetWithdrawalDelay(s) => {
                write!(f, "Let withdrawals thaw for {}", span(*s))
            }
            Self::SetNodeBond(amount) => write!(f, "Ask for {amount} JOULE of stake for a node"),
            Self::SetUtilityBond(amount) => {
                write!(f, "Ask for {amount} JOULE of stake for a utility's offer")
            }
            Self::SetExchangeFee(bp) => write!(f, "Set the trading fee to {} %", percent(bp)),
            Self::SetUnderwriter(who) => write!(f, "Let {who} give credit from the pool"),
            Self::SetGuardian(who) => write!(f, "Let {who} stop disputes"),
            Self::Mint { to, amount } => write!(f, "Mint {amount} JOULE for {to}"),
            Self::Pay { to, amount } => write!(f, "Pay {amount} JOULE to {to}"),
            Self::Grant { to, amount, cliff_s, duration_s } => {
                write!(f, "Grant {amount} JOULE to {to} over {}", span(*duration_s))?;
                if *cliff_s > 0 { write!(f, ", nothing before {}", span(*cliff_s)) } else { Ok(()) }
            }
            Self::Revoke(id) => write!(f, "Revoke grant {id}"),
            Self::Upgrade { contract, implementation } => {
                write!(f, "Upgrade {} to {implementation}", contract.name())
            }
            Self::Call(call) => write!(f, "Call {} with {}", call.target, call.data),
        }
    }
}
