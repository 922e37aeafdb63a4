//! The arithmetic of a charge: pure, in cumulative amounts.

use kinesis_protocol::{JoulePrice, NanoJoule, NanoUsd, money::NANO};

use super::Amounts;
use crate::{StoreError, Terms};

/// No lease is charged more than this for its supplier's share, whatever its counters say: it keeps
/// every sum far from overflow.
const SHARE_MAX: NanoUsd = NanoUsd(10_000_000 * NANO);

/// The sum of both.
pub(super) fn sum(one: &Amounts, other: &Amounts) -> Result<Amounts, StoreError> {
    let usd = |a: NanoUsd, b: NanoUsd| a.checked_add(b).ok_or(StoreError::Overflow);
    let joule = |a: NanoJoule, b: NanoJoule| a.checked_add(b).ok_or(StoreError::Overflow);
    Ok(Amounts {
        supplier_nanousd: usd(one.supplier_nanousd, other.supplier_nanousd)?,
        margin_nanousd: usd(one.margin_nanousd, other.margin_nanousd)?,
        fee_nanousd: usd(one.fee_nanousd, other.fee_nanousd)?,
        supplier_nanojoule: joule(one.supplier_nanojoule, other.supplier_nanojoule)?,
        fee_nanojoule: joule(one.fee_nanojoule, other.fee_nanojoule)?,
    })
}

/// What is still to be posted for a lease whose usage cost `cost` so far, and what the conversion
/// leaves for the next time. Nothing is ever negative.
pub(super) fn charge(
    cost: NanoUsd,
    terms: Terms,
    posted: &Amounts,
    carry_attousd: i64,
    price: JoulePrice,
) -> Result<(Amounts, i64), StoreError> {
    let share = cost.min(SHARE_MAX).max(posted.supplier_nanousd);
    let more = |cumulative: NanoUsd, before: NanoUsd| (cumulative - before).max(NanoUsd::ZERO);
    let supplier_nanousd = more(share, posted.supplier_nanousd);

    // A nano-USD is a billion atto-USD, and the price of a nano-JOULE in atto-USD is the price of a
    // JOULE in nano-USD.
    let attousd = i128::from(supplier_nanousd.0) * i128::from(NANO) + i128::from(carry_attousd);
    let nanousd_per_joule = i128::from(price.nanousd());
    let fits = |v: i128| i64::try_from(v).map_err(|_| StoreError::Overflow);
    let supplier_nanojoule = NanoJoule(fits(attousd.div_euclid(nanousd_per_joule))?);
    let carry = fits(attousd.rem_euclid(nanousd_per_joule))?;

    let earned =
        posted.supplier_nanojoule.checked_add(supplier_nanojoule).ok_or(StoreError::Overflow)?;
    let fee_joule = earned.share(terms.fee_bp) - posted.fee_nanojoule;
    let difference = Amounts {
        supplier_nanousd,
        margin_nanousd: more(share.share(terms.margin_bp), posted.margin_nanousd),
        fee_nanousd: more(share.share(terms.fee_bp), posted.fee_nanousd),
        supplier_nanojoule,
        fee_nanojoule: fee_joule.max(NanoJoule::ZERO),
    };
    Ok((difference, carry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_charges_add_up_to_one(
            steps in prop::collection::vec(0..100_000_i64, 1..60),
            price in 1_000_000..10_i64.pow(13),
            margin_bp in 0..5_000_u32,
            fee_bp in 0..1_000_u32,
        ) {
            let terms = Terms { margin_bp, fee_bp };
            let price = JoulePrice::new(price).unwrap();
            let (mut cost, mut posted, mut carry) = (NanoUsd::ZERO, Amounts::default(), 0);
            for step in steps {
                cost += NanoUsd(step);
                let (difference, left) = charge(cost, terms, &posted, carry, price).unwrap();
                prop_assert!(difference.customer_nanousd() >= NanoUsd::ZERO);
                prop_assert!(left >= 0 && left < price.nanousd());
                posted = sum(&posted, &difference).unwrap();
                carry = left;
            }
            let (at_once, left) = charge(cost, terms, &Amounts::default(), 0, price).unwrap();
            prop_assert_eq!(posted, at_once);
            prop_assert_eq!(carry, left);
            prop_assert_eq!(posted.supplier_nanojoule, price.to_joule(cost));
            prop_assert_eq!(posted.supplier_nanousd, cost);
        }

        #[test]
        fn a_changing_price_loses_nothing(
            steps in prop::collection::vec((0..100_000_i64, 1_000_000..10_i64.pow(12)), 1..60),
        ) {
            let terms = Terms { margin_bp: 1_000, fee_bp: 100 };
            let (mut cost, mut posted, mut carry) = (NanoUsd::ZERO, Amounts::default(), 0);
            let mut worth = 0_i128;
            for (step, price) in steps {
                cost += NanoUsd(step);
                let price = JoulePrice::new(price).unwrap();
                let (difference, left) = charge(cost, terms, &posted, carry, price).unwrap();
                worth += i128::from(difference.supplier_nanojoule.0) * i128::from(price.nanousd());
                posted = sum(&posted, &difference).unwrap();
                carry = left;
            }
            prop_assert_eq!(worth + i128::from(carry), i128::from(cost.0) * i128::from(NANO));
        }

        #[test]
        fn older_counters_and_absurd_ones_never_pay_back_or_overflow(
            cost in any::<i64>(),
            before in 0..i64::MAX / 1_000,
        ) {
            let terms = Terms { margin_bp: 100_000, fee_bp: 100_000 };
            let posted = Amounts { supplier_nanousd: NanoUsd(before), ..Amounts::default() };
            let price = JoulePrice::new(10_000_000).unwrap();
            if let Ok((difference, _)) = charge(NanoUsd(cost), terms, &posted, 0, price) {
                prop_assert!(difference.supplier_nanousd >= NanoUsd::ZERO);
                prop_assert!(difference.supplier_nanousd <= SHARE_MAX);
            }
        }
    }
}
