//! Typed bindings of the contracts and the bytecode they are deployed from, read from
//! `contracts/artifacts/`, which `npm run artifacts:write` makes from the sources.

#![allow(missing_docs, clippy::too_many_arguments, unreachable_pub)]

use std::{collections::BTreeMap, sync::OnceLock};

use alloy::{json_abi::JsonAbi, sol};

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
    Registry,
    "../../contracts/artifacts/Registry.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    StakePool,
    "../../contracts/artifacts/StakePool.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Exchange,
    "../../contracts/artifacts/Exchange.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Disputes,
    "../../contracts/artifacts/Disputes.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Audits,
    "../../contracts/artifacts/Audits.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Leases,
    "../../contracts/artifacts/Leases.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Treasury,
    "../../contracts/artifacts/Treasury.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Grants,
    "../../contracts/artifacts/Grants.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    KinesisGovernor,
    "../../contracts/artifacts/KinesisGovernor.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    TimelockController,
    "../../contracts/artifacts/TimelockController.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    DevDollar,
    "../../contracts/artifacts/DevDollar.json"
);
sol!(
    #[derive(Debug, PartialEq, Eq)]
    UniswapV2Market,
    "../../contracts/artifacts/UniswapV2Market.json"
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
sol! {
    /// What binds a node to a supplier, as both keys sign it (EIP-712).
    #[derive(Debug, PartialEq, Eq)]
    struct ClaimNode {
        address supplier;
        bytes32 nodeKey;
        uint64 sequence;
        uint64 deadline;
    }
}

sol! {
    /// What a deployment needs of a Uniswap v2 router.
    #[derive(Debug, PartialEq, Eq)]
    interface IUniswapV2Router02 {
        function factory() external view returns (address);
    }
    /// What a deployment needs of a Uniswap v2 factory.
    #[derive(Debug, PartialEq, Eq)]
    interface IUniswapV2Factory {
        function getPair(address a, address b) external view returns (address);
        function createPair(address a, address b) external returns (address);
    }
}

/// Errors, events and functions of all contracts, by the contract's name.
pub(crate) fn interfaces() -> &'static BTreeMap<String, JsonAbi> {
    static INTERFACES: OnceLock<BTreeMap<String, JsonAbi>> = OnceLock::new();
    INTERFACES.get_or_init(|| {
        serde_json::from_str(include_str!("../../../contracts/artifacts/interfaces.json"))
            .expect("the file is made by a script of ours, and a test reads it")
    })
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
