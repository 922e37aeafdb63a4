use kinesis_chain::Key;
use kinesis_protocol::{PaymentRoot, PaymentTree, SignedRoot};

use super::*;

const CHAIN: u64 = 31_337;
const JOULE: u64 = 1_000_000_000;

struct Utility {
    key: Key,
    escrow: Address,
}

impl Utility {
    fn new() -> Self {
        Self { key: Key::random(), escrow: Address::repeat_byte(9) }
    }

    fn terms(&self) -> Terms {
        let payer = Payer { utility: self.key.address(), series: 1 };
        Terms { payer, chain_id: CHAIN, escrow: self.escrow }
    }

    fn pays(&self, supplier: Address, tick: u64, nanojoule: u64) -> PaymentProof {
        let wei = U256::from(nanojoule) * U256::from(1_000_000_000_u64);
        let others = (Address::repeat_byte(3), U256::from(tick));
        let tree = PaymentTree::new(vec![(supplier, wei), others]).unwrap();
        let (cumulative_wei, proof) = tree.prove(supplier).unwrap();
        let root = PaymentRoot {
            utility: self.key.address(),
            series: 1,
            tick,
            root: tree.root(),
            total: tree.total_wei(),
        };
        let signature = self.key.sign_hash(&root.signing_hash(CHAIN, self.escrow));
        PaymentProof { signed: SignedRoot { root, signature }, supplier, cumulative_wei, proof }
    }
}

fn price() -> JoulePrice {
    JoulePrice::new(1_000_000_000).unwrap()
}

fn me() -> Address {
    Address::repeat_byte(7)
}

fn wallet(dir: &tempfile::TempDir, checks_chain: bool) -> Wallet {
    Wallet::new(me(), NanoUsd(1_000), dir.path().to_owned(), checks_chain)
}

#[test]
fn only_payments_worth_having_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (utility, wallet) = (Utility::new(), wallet(&dir, false));
    let terms = utility.terms();
    wallet.welcome(terms, price(), NanoJoule::ZERO).unwrap();
    let receive = |payment| wallet.receive(&terms, payment, price()).unwrap();
    assert!(receive(utility.pays(me(), 5, 100)).is_ok());
    let other = Address::repeat_byte(8);
    assert_eq!(receive(utility.pays(other, 6, 100)), Err(PaymentError::NotOurs(other)));
    assert_eq!(receive(utility.pays(me(), 4, 200)), Err(PaymentError::OldTick { got: 4, held: 5 }));
    assert_eq!(receive(utility.pays(me(), 5, 101)), Err(PaymentError::Equivocation { tick: 5 }));
    assert!(matches!(receive(utility.pays(me(), 6, 99)), Err(PaymentError::Decreased { .. })));
    let stranger = Utility { escrow: utility.escrow, ..Utility::new() };
    assert_eq!(receive(stranger.pays(me(), 7, 500)), Err(PaymentError::OtherPayer));
    let mut forged = utility.pays(me(), 7, 500);
    forged.signed.root.tick = 8;
    assert_eq!(receive(forged), Err(PaymentError::Invalid));
    assert!(wallet.accounts()[0].alert.is_some());
    assert!(receive(utility.pays(me(), 5, 100)).is_ok(), "a repeat costs nothing");
    assert!(receive(utility.pays(me(), 9, 150)).is_ok());
    let kept = stored::stored(dir.path()).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].cumulative_nanojoule(), NanoJoule(150));
    assert_eq!(kept[0].payer(), terms.payer);
}

#[test]
fn a_restart_takes_up_the_newest_payment() {
    let dir = tempfile::tempdir().unwrap();
    let utility = Utility::new();
    let terms = utility.terms();
    let before = wallet(&dir, false);
    before.welcome(terms, price(), NanoJoule::ZERO).unwrap();
    before.receive(&terms, utility.pays(me(), 5, 100), price()).unwrap().unwrap();
    let after = wallet(&dir, false);
    after.welcome(terms, price(), NanoJoule(40)).unwrap();
    let account = &after.accounts()[0];
    assert_eq!((account.paid_nanojoule, account.tick), (NanoJoule(100), 5));
    assert_eq!(account.earned_nanojoule, NanoJoule(100), "never below what was paid");
    let old = after.receive(&terms, utility.pays(me(), 4, 100), price()).unwrap();
    assert!(matches!(old, Err(PaymentError::OldTick { .. })));
}

#[test]
fn trust_ends_at_the_limit_and_returns_with_the_payment() {
    let dir = tempfile::tempdir().unwrap();
    let (utility, wallet) = (Utility::new(), wallet(&dir, false));
    let terms = utility.terms();
    wallet.welcome(terms, price(), NanoJoule::ZERO).unwrap();
    wallet.earn(terms.payer, NanoUsd(1_000)).unwrap();
    assert_eq!(wallet.refusal(terms.payer), None);
    wallet.earn(terms.payer, NanoUsd(1)).unwrap();
    let reason = wallet.refusal(terms.payer).unwrap();
    assert!(reason.contains("not paid"), "{reason}");
    let short = wallet.receive(&terms, utility.pays(me(), 1, 0), price()).unwrap().unwrap();
    assert!(matches!(short.alert, Some(PaymentError::Short { .. })));
    wallet.receive(&terms, utility.pays(me(), 2, 500), price()).unwrap().unwrap();
    assert_eq!(wallet.refusal(terms.payer), None);
    wallet.earn(terms.payer, NanoUsd(1_000)).unwrap();
    assert!(wallet.refusal(terms.payer).is_some());
    assert_eq!(wallet.forgive(), vec![(terms.payer, NanoJoule(500))]);
    assert_eq!(wallet.refusal(terms.payer), None);
}

#[test]
fn signatures_count_only_as_far_as_the_escrow_covers_them() {
    let dir = tempfile::tempdir().unwrap();
    let (utility, wallet) = (Utility::new(), wallet(&dir, true));
    let terms = utility.terms();
    wallet.welcome(terms, price(), NanoJoule::ZERO).unwrap();
    wallet.earn(terms.payer, NanoUsd(2_000)).unwrap();
    let accepted = wallet.receive(&terms, utility.pays(me(), 1, 2_000), price()).unwrap().unwrap();
    assert!(accepted.read_escrow && accepted.lifted.is_none());
    assert!(wallet.refusal(terms.payer).is_some(), "the chain was not read yet");
    wallet.cover(terms.payer, U256::from(10 * JOULE) * U256::from(JOULE));
    assert_eq!(wallet.refusal(terms.payer), None);
    let accepted = wallet.receive(&terms, utility.pays(me(), 2, 2_001), price()).unwrap().unwrap();
    assert!(!accepted.read_escrow);
    assert_eq!(accepted.lifted, Some(NanoJoule(2_001)));
    wallet.cover(terms.payer, U256::from(1));
    let reason = wallet.refusal(terms.payer).unwrap();
    assert!(reason.contains("does not cover"), "{reason}");
}

#[test]
fn a_withdrawal_is_signed_from_the_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::load_or_create(&stored::key_path(dir.path())).unwrap();
    let utility = Utility::new();
    let terms = utility.terms();
    let missing = stored::withdrawals(dir.path(), 99, &key).unwrap_err();
    assert!(matches!(missing, AgentError::NothingEarned { .. }));
    let wallet = Wallet::new(key.address(), NanoUsd(1), dir.path().to_owned(), false);
    wallet.welcome(terms, price(), NanoJoule::ZERO).unwrap();
    wallet.receive(&terms, utility.pays(key.address(), 1, 5), price()).unwrap().unwrap();
    let request = stored::withdrawals(dir.path(), 99, &key).unwrap().remove(0);
    assert_eq!(request.deadline, 99);
    let settlement = kinesis_chain::Settlement::new(
        "http://127.0.0.1:0",
        CHAIN,
        utility.escrow,
        utility.key.clone(),
    )
    .unwrap();
    let to = utility.key.address();
    assert!(settlement.verify_redeem_to(&request.payment, to, 99, &request.signature));
}

#[test]
fn a_tampered_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (utility, wallet) = (Utility::new(), wallet(&dir, false));
    let terms = utility.terms();
    wallet.welcome(terms, price(), NanoJoule::ZERO).unwrap();
    wallet.receive(&terms, utility.pays(me(), 5, 100), price()).unwrap().unwrap();
    let path = std::fs::read_dir(dir.path().join("payments")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(path.path()).unwrap();
    std::fs::write(path.path(), text.replace("\"tick\": 5", "\"tick\": 6")).unwrap();
    assert!(matches!(stored::stored(dir.path()), Err(AgentError::BadPayment { .. })));
}
