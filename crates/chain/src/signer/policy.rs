//! What a signing process signs: transactions to the contracts it was told of, which leave JOULE in
//! the escrow, with the supplier whose it is, or with the key's own address, or trade it on the market
//! for USD that comes there.

use alloy::{
    consensus::TxEip1559,
    primitives::{Address, TxKind},
    sol_types::SolInterface as _,
};

use crate::contracts::{
    DevDollar::DevDollarCalls, Exchange::ExchangeCalls, Joule::JouleCalls,
    PaymentEscrow::PaymentEscrowCalls,
};

/// The most gas that one transaction is given.
const GAS_MAX: u64 = 10_000_000;
/// The longest call: a redemption for some hundreds of suppliers.
const CALL_BYTES_MAX: usize = 128 << 10;

/// The contracts that a signing process knows, and what it spends at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerPolicy {
    /// The chain.
    pub chain_id: u64,
    /// The escrow, for whose roots and calls it signs.
    pub escrow: Address,
    /// The token, which it lets the escrow and the market take and nobody else.
    pub joule: Address,
    /// Where it trades JOULE and USD; `None`: nowhere.
    pub market: Option<TradePolicy>,
    /// The court of leases, for whose terms and acknowledgements it signs; `None`: for none.
    pub leases: Option<Address>,
    /// The most that is offered for a unit of gas, in wei.
    pub fee_per_gas_max: u128,
}

/// Where a signing process trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradePolicy {
    /// The market.
    pub exchange: Address,
    /// Its stablecoin, which it lets the market take and nobody else.
    pub usd: Address,
}

impl SignerPolicy {
    /// Whether a transaction of `own` may be signed; otherwise why not.
    ///
    /// # Errors
    /// The reason.
    pub fn allows(&self, own: Address, transaction: &TxEip1559) -> Result<(), String> {
        let no = |reason: String| Err(reason);
        if transaction.chain_id != self.chain_id {
            return no(format!("chain {} is not chain {}", transaction.chain_id, self.chain_id));
        }
        if !transaction.value.is_zero() {
            return no("it sends the native coin".to_owned());
        }
        if transaction.gas_limit > GAS_MAX || transaction.max_fee_per_gas > self.fee_per_gas_max {
            return no("it costs more gas than is allowed".to_owned());
        }
        if transaction.input.len() > CALL_BYTES_MAX || !transaction.access_list.is_empty() {
            return no("it is no call of ours".to_owned());
        }
        match transaction.to {
            TxKind::Call(to) if to == self.escrow => self.escrow_call(own, &transaction.input),
            TxKind::Call(to) if to == self.joule => self.joule_call(&transaction.input),
            TxKind::Call(to) => match &self.market {
                Some(market) if to == market.exchange => market_call(own, &transaction.input),
                Some(market) if to == market.usd => usd_call(market, &transaction.input),
                _ => no(format!("{to} is no contract of ours")),
            },
            TxKind::Create => no("it creates a contract".to_owned()),
        }
    }

    #[expect(clippy::unused_self, reason = "beside its sibling, which needs it")]
    fn escrow_call(&self, own: Address, input: &[u8]) -> Result<(), String> {
        use PaymentEscrowCalls as Calls;
        match Calls::abi_decode(input) {
            Ok(
                Calls::deposit(_)
                | Calls::redeem(_)
                | Calls::redeemTo(_)
                | Calls::redeemMany(_)
                | Calls::anchor(_)
                | Calls::requestWithdrawal(_)
                | Calls::collectFees(_),
            ) => Ok(()),
            Ok(Calls::withdraw(call)) if call.to == own => Ok(()),
            Ok(Calls::withdraw(call)) => Err(format!("it withdraws to {}", call.to)),
            Ok(_) | Err(_) => Err("this call of the escrow is not signed".to_owned()),
        }
    }

    fn joule_call(&self, input: &[u8]) -> Result<(), String> {
        match JouleCalls::abi_decode(input) {
            Ok(JouleCalls::approve(call)) if call.spender == self.escrow => Ok(()),
            Ok(JouleCalls::approve(call))
                if self.market.is_some_and(|market| call.spender == market.exchange) =>
            {
                Ok(())
            }
            Ok(JouleCalls::approve(call)) => Err(format!("it lets {} take JOULE", call.spender)),
            Ok(_) | Err(_) => Err("of JOULE only allowances are signed".to_owned()),
        }
    }
}

fn market_call(own: Address, input: &[u8]) -> Result<(), String> {
    use ExchangeCalls as Calls;
    let to = match Calls::abi_decode(input) {
        Ok(Calls::poke(_)) => own,
        Ok(Calls::buy(call)) => call.to,
        Ok(Calls::sell(call)) => call.to,
        Ok(_) | Err(_) => return Err("this call of the market is not signed".to_owned()),
    };
    if to == own { Ok(()) } else { Err(format!("it trades for {to}")) }
}

fn usd_call(market: &TradePolicy, input: &[u8]) -> Result<(), String> {
    match DevDollarCalls::abi_decode(input) {
        Ok(DevDollarCalls::approve(call)) if call.spender == market.exchange => Ok(()),
        Ok(DevDollarCalls::approve(call)) => Err(format!("it lets {} take USD", call.spender)),
        Ok(_) | Err(_) => Err("of the stablecoin only allowances are signed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::{Bytes, U256},
        sol_types::SolCall,
    };

    use super::*;
    use crate::contracts::{DevDollar, Exchange, Joule, PaymentEscrow};

    const OWN: Address = Address::repeat_byte(1);
    const ESCROW: Address = Address::repeat_byte(2);
    const JOULE: Address = Address::repeat_byte(3);
    const EXCHANGE: Address = Address::repeat_byte(4);
    const USD: Address = Address::repeat_byte(5);

    fn policy() -> SignerPolicy {
        SignerPolicy {
            chain_id: 5,
            escrow: ESCROW,
            joule: JOULE,
            leases: None,
            market: Some(TradePolicy { exchange: EXCHANGE, usd: USD }),
            fee_per_gas_max: 100,
        }
    }

    fn call<C: SolCall>(to: Address, call: &C) -> TxEip1559 {
        TxEip1559 {
            chain_id: 5,
            gas_limit: 100_000,
            max_fee_per_gas: 100,
            to: TxKind::Call(to),
            input: Bytes::from(call.abi_encode()),
            ..TxEip1559::default()
        }
    }

    #[test]
    fn money_goes_nowhere_but_home() {
        let allows = |transaction: &TxEip1559| policy().allows(OWN, transaction);
        let deposit = PaymentEscrow::depositCall { utility: OWN, series: 1, amount: U256::ONE };
        let good = call(ESCROW, &deposit);
        allows(&good).unwrap();
        let withdraw = |to| call(ESCROW, &PaymentEscrow::withdrawCall { series: 1, to });
        allows(&withdraw(OWN)).unwrap();
        allows(&withdraw(ESCROW)).unwrap_err();
        let approve = |spender| call(JOULE, &Joule::approveCall { spender, value: U256::MAX });
        allows(&approve(ESCROW)).unwrap();
        allows(&approve(OWN)).unwrap_err();
        let transfer = Joule::transferCall { to: OWN, value: U256::ONE };
        allows(&call(JOULE, &transfer)).unwrap_err();
        // An owner's rights, and what is no call at all.
        allows(&call(ESCROW, &PaymentEscrow::setFeeCall { feeBp_: 0 })).unwrap_err();
        allows(&TxEip1559 { input: Bytes::new(), ..good.clone() }).unwrap_err();
        // Another contract, chain or price, and coin that goes along.
        allows(&TxEip1559 { to: TxKind::Call(OWN), ..good.clone() }).unwrap_err();
        allows(&TxEip1559 { to: TxKind::Create, ..good.clone() }).unwrap_err();
        allows(&TxEip1559 { chain_id: 6, ..good.clone() }).unwrap_err();
        allows(&TxEip1559 { max_fee_per_gas: 101, ..good.clone() }).unwrap_err();
        allows(&TxEip1559 { gas_limit: u64::MAX, ..good.clone() }).unwrap_err();
        allows(&TxEip1559 { value: U256::ONE, ..good }).unwrap_err();
    }

    #[test]
    fn trades_come_home_and_go_to_the_named_market_alone() {
        let allows = |transaction: &TxEip1559| policy().allows(OWN, transaction);
        let one = U256::ONE;
        let buy = |to| Exchange::buyCall { usdIn: one, minOut: one, to, deadline: one };
        let sell = |to| Exchange::sellCall { jouleIn: one, minOut: one, to, deadline: one };
        allows(&call(EXCHANGE, &buy(OWN))).unwrap();
        allows(&call(EXCHANGE, &sell(OWN))).unwrap();
        allows(&call(EXCHANGE, &Exchange::pokeCall {})).unwrap();
        allows(&call(EXCHANGE, &buy(ESCROW))).unwrap_err();
        allows(&call(EXCHANGE, &sell(JOULE))).unwrap_err();
        allows(&call(EXCHANGE, &Exchange::sweepCall {})).unwrap_err();
        for token in [JOULE, USD] {
            let approve = |spender| call(token, &Joule::approveCall { spender, value: one });
            allows(&approve(EXCHANGE)).unwrap();
            allows(&approve(OWN)).unwrap_err();
        }
        let approve_escrow = Joule::approveCall { spender: ESCROW, value: one };
        allows(&call(USD, &approve_escrow)).unwrap_err();
        allows(&call(USD, &DevDollar::transferCall { to: OWN, value: one })).unwrap_err();
        // Without a market none of it.
        let none = SignerPolicy { market: None, ..policy() };
        none.allows(OWN, &call(EXCHANGE, &buy(OWN))).unwrap_err();
        let approve = Joule::approveCall { spender: EXCHANGE, value: one };
        none.allows(OWN, &call(JOULE, &approve)).unwrap_err();
    }
}
