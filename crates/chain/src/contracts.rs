//! Typed bindings of the contracts and the bytecode they are deployed from, read from
//! `contracts/artifacts/`, which `npm run artifacts:write` makes from the sources.

#![allow(missing_docs, clippy::too_many_arguments, unreachable_pub)]

use alloy::sol;

sol!(
    #[derive(Debug, PartialEq, Eq)]
    Joule,
    "../../contracts/artifacts/Joule.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    PaymentEscrow,
    "../../contracts/artifacts/PaymentEscrow.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    ERC1967Proxy,
    "../../contracts/artifacts/ERC1967Proxy.json"
);
sol! {
    /// A supplier's consent to be paid elsewhere, as it is signed (EIP-712).
    #[derive(Debug, PartialEq, Eq)]
    struct RedeemTo {
        address utility;
        uint64 series;
        address supplier;
        uint256 cumulative;
        address to;
        uint256 deadline;
    }
}
