//! The root of a tick, signed by a utility (EIP-712), as the escrow contract verifies it.

use alloy::{
    primitives::{Address, B256, U256},
    sol,
    sol_types::{Eip712Domain, SolStruct, eip712_domain},
};
use serde::{Deserialize, Serialize};

sol! {
    /// What a utility signs every tick: the whole of what it owes, in one hash.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct PaymentRoot {
        /// The utility whose escrow pays.
        address utility;
        /// Which of the utility's trees: each has an escrow account of its own.
        uint64 series;
        /// The number of this root within its series. Never signed twice with different content.
        uint64 tick;
        /// The root of the payment tree.
        bytes32 root;
        /// The sum of all amounts in the tree, in wei of JOULE.
        uint256 total;
    }
}

/// A 65-byte `r ‖ s ‖ v` signature, in hex in JSON.
pub type Signature = alloy::primitives::Signature;

/// Whether `signer` signed this hash. Signatures with a high `s` are refused, as the contracts refuse
/// them.
#[must_use]
pub fn signed_by(signer: Address, hash: &B256, signature: &Signature) -> bool {
    signature.normalize_s().is_none()
        && signature.recover_address_from_prehash(hash).is_ok_and(|recovered| recovered == signer)
}

/// The EIP-712 domain of an escrow contract.
#[must_use]
pub fn domain(chain_id: u64, escrow: Address) -> Eip712Domain {
    eip712_domain! {
        name: "Kinesis PaymentEscrow",
        version: "1",
        chain_id: chain_id,
        verifying_contract: escrow,
    }
}

impl PaymentRoot {
    /// The hash that is signed.
    #[must_use]
    pub fn signing_hash(&self, chain_id: u64, escrow: Address) -> B256 {
        self.eip712_signing_hash(&domain(chain_id, escrow))
    }
}

/// A root with its utility's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRoot {
    /// What was signed.
    pub root: PaymentRoot,
    /// The signature over [`PaymentRoot::signing_hash`].
    pub signature: Signature,
}

impl SignedRoot {
    /// Whether the utility named in the root signed it, for this chain and escrow. Signatures with
    /// a high `s` are refused, as the contract refuses them.
    #[must_use]
    pub fn verify(&self, chain_id: u64, escrow: Address) -> bool {
        signed_by(self.root.utility, &self.root.signing_hash(chain_id, escrow), &self.signature)
    }

    /// The 65 bytes `r ‖ s ‖ v` that the contract takes.
    #[must_use]
    pub fn signature_bytes(&self) -> [u8; 65] {
        self.signature.as_bytes()
    }
}

/// One supplier's share of a tick: all it needs to be paid without its utility.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentProof {
    /// The signed root.
    pub signed: SignedRoot,
    /// Whom it pays.
    pub supplier: Address,
    /// Everything the supplier ever earned in this series, in wei of JOULE.
    pub cumulative_wei: U256,
    /// The way from its leaf to the root.
    pub proof: crate::tree::Proof,
}

impl PaymentProof {
    /// Whether signature and proof hold, for this chain and escrow.
    #[must_use]
    pub fn verify(&self, chain_id: u64, escrow: Address) -> bool {
        self.cumulative_wei <= self.signed.root.total
            && self.proof.verify(self.signed.root.root, self.supplier, self.cumulative_wei)
            && self.signed.verify(chain_id, escrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::PaymentTree;
    use alloy::signers::{SignerSync, local::PrivateKeySigner};

    #[test]
    fn a_proof_holds_for_its_chain_escrow_and_amount_only() {
        let signer = PrivateKeySigner::random();
        let supplier = Address::repeat_byte(7);
        let tree =
            PaymentTree::new(vec![(supplier, U256::from(5)), (Address::ZERO, U256::ONE)]).unwrap();
        let root = PaymentRoot {
            utility: signer.address(),
            series: 1,
            tick: 9,
            root: tree.root(),
            total: tree.total_wei(),
        };
        let escrow = Address::repeat_byte(1);
        let signature = signer.sign_hash_sync(&root.signing_hash(31337, escrow)).unwrap();
        let (cumulative_wei, proof) = tree.prove(supplier).unwrap();
        let good = PaymentProof {
            signed: SignedRoot { root, signature },
            supplier,
            cumulative_wei,
            proof,
        };
        assert!(good.verify(31337, escrow));
        assert!(!good.verify(1, escrow));
        assert!(!good.verify(31337, supplier));
        let mut more = good.clone();
        more.cumulative_wei += U256::ONE;
        assert!(!more.verify(31337, escrow));
        let mut other = good.clone();
        other.signed.root.tick += 1;
        assert!(!other.verify(31337, escrow));
        let json = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<PaymentProof>(&json).unwrap(), good);
    }
}
