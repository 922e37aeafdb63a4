//! What supplier and utility promise each other about one lease, and the word with which the utility
//! confirms it, signed (EIP-712) as the court of leases verifies them.
//!
//! The utility signs [`LeaseTerms`] with the grant, the supplier when it takes it. While all is well
//! the utility signs an [`Ack`] now and then; each counts for everything before it, so the newest is
//! all that a supplier keeps.

use alloy::{
    primitives::{Address, B256, keccak256},
    sol,
    sol_types::{Eip712Domain, SolStruct, eip712_domain},
};
use serde::{Deserialize, Serialize};

use crate::{
    id::LeaseId,
    root::{Signature, signed_by},
};

/// The shortest interval that the court hears of, in seconds.
pub const ACK_INTERVAL_S_MIN: u32 = 5;
/// The interval where a manifest names none, in seconds. A quarter of it is time enough to give notice
/// on a chain with a block every 12 s: agents sign for no shorter one, but on a development chain.
pub const ACK_INTERVAL_S_DEFAULT: u32 = 120;
/// The longest interval between acknowledgements, in seconds: a day.
pub const ACK_INTERVAL_S_MAX: u32 = 86_400;
/// The longest that terms may hold, in seconds: a year.
pub const TERM_S_MAX: u64 = 366 * 86_400;

sol! {
    /// What both sign.
    #[derive(Debug, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct LeaseTerms {
        /// Whose stake answers.
        address supplier;
        /// Who may accuse, and is compensated.
        address utility;
        /// The lease's id, hashed: [`lease_hash`].
        bytes32 lease;
        /// From when on, in seconds since 1970.
        uint64 from;
        /// Until when.
        uint64 to;
        /// The longest without an acknowledgement, in seconds.
        uint32 ackInterval;
        /// What silence without notice costs, once, in wei of JOULE.
        uint96 penalty;
    }

    /// What the utility signs while all is well.
    #[derive(Debug, Copy, PartialEq, Eq, Serialize, Deserialize)]
    struct Ack {
        /// The hash of the terms.
        bytes32 terms;
        /// Up to when all was well, in seconds since 1970.
        uint64 upTo;
    }
}

/// The EIP-712 domain of a court of leases.
#[must_use]
pub fn domain(chain_id: u64, court: Address) -> Eip712Domain {
    eip712_domain! {
        name: "Kinesis Leases",
        version: "1",
        chain_id: chain_id,
        verifying_contract: court,
    }
}

/// A lease as the chain knows it.
#[must_use]
pub fn lease_hash(lease: LeaseId) -> B256 {
    keccak256(lease.as_bytes())
}

impl LeaseTerms {
    /// The hash that both sign, and by which the court knows the terms.
    #[must_use]
    pub fn signing_hash(&self, chain_id: u64, court: Address) -> B256 {
        self.eip712_signing_hash(&domain(chain_id, court))
    }

    /// Says what is senseless in them.
    ///
    /// # Errors
    /// In words.
    pub fn validate(&self) -> Result<(), String> {
        let interval = self.ackInterval;
        if !(ACK_INTERVAL_S_MIN..=ACK_INTERVAL_S_MAX).contains(&interval) {
            return Err(format!(
                "an interval of {interval} s is not between {ACK_INTERVAL_S_MIN} and \
                 {ACK_INTERVAL_S_MAX} s"
            ));
        }
        match self.to.checked_sub(self.from) {
            None | Some(0) => Err("the terms end before they begin".to_owned()),
            Some(term) if term > TERM_S_MAX => {
                Err(format!("terms of {term} s are longer than {TERM_S_MAX} s"))
            }
            Some(_) if self.penalty.is_zero() => Err("the terms name no penalty".to_owned()),
            Some(_) => Ok(()),
        }
    }
}

impl Ack {
    /// The hash that the utility signs.
    #[must_use]
    pub fn signing_hash(&self, chain_id: u64, court: Address) -> B256 {
        self.eip712_signing_hash(&domain(chain_id, court))
    }
}

/// Terms as a utility offers them with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaOffer {
    /// The chain.
    pub chain_id: u64,
    /// The court of leases.
    pub court: Address,
    /// What is to be signed.
    pub terms: LeaseTerms,
    /// The utility's signature.
    pub signature: Signature,
}

impl SlaOffer {
    /// The hash that both sign.
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.terms.signing_hash(self.chain_id, self.court)
    }

    /// Whether the utility that the terms name signed them.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        signed_by(self.terms.utility, &self.digest(), &self.signature)
    }

    /// Whether this is the supplier's signature over the terms.
    #[must_use]
    pub fn is_accepted_by(&self, signature: &Signature) -> bool {
        signed_by(self.terms.supplier, &self.digest(), signature)
    }
}

/// An acknowledgement with its utility's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAck {
    /// What was signed.
    pub ack: Ack,
    /// The signature over [`Ack::signing_hash`].
    pub signature: Signature,
}

impl SignedAck {
    /// Whether `utility` signed it, for this chain and court.
    #[must_use]
    pub fn is_of(&self, utility: Address, chain_id: u64, court: Address) -> bool {
        signed_by(utility, &self.ack.signing_hash(chain_id, court), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::{
        primitives::U256,
        signers::{SignerSync, local::PrivateKeySigner},
    };

    const COURT: Address = Address::repeat_byte(3);

    fn terms(utility: Address, supplier: Address) -> LeaseTerms {
        LeaseTerms {
            supplier,
            utility,
            lease: lease_hash(LeaseId::from_bytes([1; 16])),
            from: 100,
            to: 200,
            ackInterval: 10,
            penalty: U256::from(5).to(),
        }
    }

    #[test]
    fn signatures_hold_for_their_signer_chain_and_court_only() {
        let (utility, supplier) = (PrivateKeySigner::random(), PrivateKeySigner::random());
        let terms = terms(utility.address(), supplier.address());
        let hash = terms.signing_hash(7, COURT);
        let signature = utility.sign_hash_sync(&hash).unwrap();
        let offer = SlaOffer { chain_id: 7, court: COURT, terms, signature };
        assert!(offer.is_signed());
        assert!(!SlaOffer { chain_id: 8, ..offer }.is_signed());
        assert!(!SlaOffer { court: Address::ZERO, ..offer }.is_signed());
        let dearer = LeaseTerms { penalty: U256::from(6).to(), ..terms };
        assert!(!SlaOffer { terms: dearer, ..offer }.is_signed());
        assert!(offer.is_accepted_by(&supplier.sign_hash_sync(&hash).unwrap()));
        assert!(!offer.is_accepted_by(&signature));
        let ack = Ack { terms: hash, upTo: 150 };
        let signature = utility.sign_hash_sync(&ack.signing_hash(7, COURT)).unwrap();
        let signed = SignedAck { ack, signature };
        assert!(signed.is_of(utility.address(), 7, COURT));
        assert!(!signed.is_of(supplier.address(), 7, COURT));
        let later = Ack { upTo: 151, ..ack };
        assert!(!SignedAck { ack: later, ..signed }.is_of(utility.address(), 7, COURT));
        let json = serde_json::to_string(&offer).unwrap();
        assert_eq!(serde_json::from_str::<SlaOffer>(&json).unwrap(), offer);
    }

    #[test]
    fn senseless_terms_are_named() {
        let good = terms(Address::ZERO, Address::ZERO);
        assert_eq!(good.validate(), Ok(()));
        let says = |terms: LeaseTerms, what: &str| {
            let said = terms.validate().unwrap_err();
            assert!(said.contains(what), "{said}");
        };
        says(LeaseTerms { to: 100, ..good }, "end before");
        says(LeaseTerms { to: 99, ..good }, "end before");
        says(LeaseTerms { to: u64::MAX, ..good }, "longer");
        says(LeaseTerms { ackInterval: 4, ..good }, "interval");
        says(LeaseTerms { ackInterval: 86_401, ..good }, "interval");
        says(LeaseTerms { penalty: U256::ZERO.to(), ..good }, "penalty");
    }
}
