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

#[cfg(test)]
mod vectors {
    use alloy::{
        primitives::{Address, U256, hex, keccak256},
        sol_types::SolStruct as _,
    };
    use kinesis_protocol::{PaymentRoot, tree::leaf};

    /// The same leaf and types as in `contracts/test/escrow/Redeem.t.sol`.
    #[test]
    fn leaf_and_types_are_those_of_the_contracts() {
        let packed = hex!("1111111111111111111111111111111111111111000000000de0b6b3a7640000");
        let one = U256::from(1_000_000_000_000_000_000_u64);
        assert_eq!(leaf(Address::repeat_byte(0x11), one), Some(keccak256(packed)));
        assert_eq!(
            PaymentRoot::eip712_encode_type(),
            "PaymentRoot(address utility,uint64 series,uint64 tick,bytes32 root,uint256 total)"
        );
        assert_eq!(
            super::RedeemTo::eip712_encode_type(),
            "RedeemTo(address utility,uint64 series,address supplier,uint256 cumulative,address to,uint256 deadline)"
        );
    }
}
