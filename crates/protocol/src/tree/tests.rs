use proptest::{collection::vec, prelude::*};

use super::*;

fn payee(number: u64) -> Address {
    Address::left_padding_from(&number.to_be_bytes())
}

fn payees(n: u64) -> Vec<(Address, U256)> {
    (1..=n).map(|number| (payee(number), U256::from(number * 1000))).collect()
}

/// Every level of the tree over these payees, hash by hash, from nothing.
fn naive(payees: &[(Address, U256)]) -> Vec<Vec<B256>> {
    let leaves = payees.iter().map(|(payee, wei)| leaf(*payee, *wei).unwrap()).collect();
    let mut levels: Vec<Vec<B256>> = vec![leaves];
    while let Some(last) = levels.last().filter(|level| level.len() > 1) {
        let above = last.chunks(2).map(|two| match two {
            [a, b] if a < b => keccak256([a.as_slice(), b.as_slice()].concat()),
            [a, b] => keccak256([b.as_slice(), a.as_slice()].concat()),
            _ => two[0],
        });
        levels.push(above.collect());
    }
    levels
}

/// Checks a tree against one that is built from nothing: root, total, amounts and every proof.
fn check(tree: &PaymentTree, payees: &[(Address, U256)]) {
    let levels = naive(payees);
    let root = levels.last().and_then(|level| level.first()).copied().unwrap_or_default();
    assert_eq!(tree.root(), root);
    assert_eq!(tree.len(), payees.len());
    assert_eq!(tree.total_wei(), payees.iter().fold(U256::ZERO, |sum, (_, wei)| sum + wei));
    for (at, (payee, wei)) in payees.iter().enumerate() {
        let (proven, proof) = tree.prove(*payee).unwrap();
        let siblings = levels.iter().enumerate();
        let expected: Vec<B256> =
            siblings.filter_map(|(level, nodes)| nodes.get((at >> level) ^ 1)).copied().collect();
        assert_eq!((proven, tree.amount(*payee)), (*wei, Some(*wei)));
        assert_eq!(proof.0, expected);
    }
}

#[test]
fn every_payee_of_every_size_is_proven_and_no_other_amount() {
    for n in 1..40 {
        let tree = PaymentTree::new(payees(n)).unwrap();
        for (supplier, amount) in payees(n) {
            let (proven, proof) = tree.prove(supplier).unwrap();
            assert_eq!(proven, amount);
            assert!(proof.verify(tree.root(), supplier, amount));
            assert!(!proof.verify(tree.root(), supplier, amount + U256::ONE));
            assert!(proof.0.len() <= 64 - (n - 1).leading_zeros() as usize);
        }
    }
}

#[test]
fn an_empty_tree_proves_nothing() {
    let tree = PaymentTree::new(vec![]).unwrap();
    assert_eq!(tree.root(), B256::ZERO);
    assert_eq!(tree.prove(Address::ZERO), None);
    assert!(tree.is_empty());
    assert!(!Proof::default().verify(tree.root(), Address::ZERO, U256::ZERO));
}

#[test]
fn repeated_payees_and_oversized_amounts_are_refused() {
    let twice = vec![(Address::ZERO, U256::ONE), (Address::ZERO, U256::ONE)];
    assert_eq!(PaymentTree::new(twice).unwrap_err(), TreeError::Repeated(Address::ZERO));
    let large = vec![(payee(1), U256::ONE), (Address::ZERO, U256::ONE << 96)];
    assert_eq!(PaymentTree::new(large.clone()).unwrap_err(), TreeError::TooLarge(Address::ZERO));
    let mut tree = PaymentTree::new(payees(3)).unwrap();
    assert_eq!(tree.update(&large, 1).unwrap_err(), TreeError::TooLarge(Address::ZERO));
    check(&tree, &payees(3));
}

#[test]
fn an_inner_node_is_no_leaf() {
    let levels = naive(&payees(4));
    let (who, wei) = payees(4)[0];
    // What is hashed has another length: 32 bytes for a leaf, 64 for what is above it. To read one
    // as the other takes two contents of one hash.
    let of_leaf = [who.as_slice(), &wei.to_be_bytes::<32>()[20..]].concat();
    assert_eq!((of_leaf.len(), packed(who, amount(wei).unwrap()).as_slice()), (32, &of_leaf[..]));
    assert_eq!(levels[0][0], keccak256(&of_leaf));
    let of_node = sorted(levels[0][0], levels[0][1]);
    assert_eq!((of_node.len(), keccak256(of_node)), (64, levels[1][0]));
    // Either half of it, read as a payee and an amount, with the way that the node itself has.
    let way = Proof(vec![levels[1][1]]);
    for half in of_node.chunks(32) {
        let (who, wei) = half.split_at(20);
        let (who, wei) = (Address::from_slice(who), U256::from_be_slice(wei));
        assert!(leaf(who, wei).is_some());
        assert!(!way.verify(levels[2][0], who, wei));
    }
    let long = Proof(vec![B256::ZERO; Proof::HASHES_MAX + 1]);
    assert!(!long.verify(levels[2][0], payees(4)[0].0, payees(4)[0].1));
}

#[test]
fn a_new_payee_moves_nobody() {
    // One by one over the borders of chunks, and of the levels above them.
    let mut tree = PaymentTree::default();
    let mut expected = Vec::new();
    for (payee, wei) in payees(600) {
        tree.update(&[(payee, wei)], 1).unwrap();
        expected.push((payee, wei));
        if expected.len() % 61 == 0 || expected.len() % 128 < 2 {
            check(&tree, &expected);
        }
    }
}

#[test]
fn a_clone_stays_as_it_was() {
    let mut tree = PaymentTree::new(payees(300)).unwrap();
    let signed = tree.clone();
    let more: Vec<_> = (200..=400).map(|number| (payee(number), U256::from(number))).collect();
    tree.update(&more, 1).unwrap();
    check(&signed, &payees(300));
    assert_eq!(signed.prove(payee(400)), None);
    let mut now = payees(199);
    now.extend(more);
    check(&tree, &now);
}

#[test]
fn threads_hash_the_same_tree() {
    let n = 5 * u64::try_from(PaymentTree::CHANGED_PER_THREAD).unwrap() / 2 + 77;
    let mut tree = PaymentTree::default();
    tree.update(&payees(n), 2).unwrap();
    let alone = PaymentTree::new(payees(n)).unwrap();
    assert_eq!((tree.root(), tree.total_wei()), (alone.root(), alone.total_wei()));
    assert_eq!(tree.root(), naive(&payees(n)).last().unwrap()[0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is updated in whatever order: the tree is the one built from nothing, and every
    /// proof leads to its root.
    #[test]
    fn any_sequence_of_updates_is_the_tree_from_nothing(
        batches in vec(vec((0..300_u64, 0..1_u128 << 96), 0..120), 1..6),
    ) {
        let mut tree = PaymentTree::default();
        let mut expected: Vec<(Address, U256)> = Vec::new();
        for batch in batches {
            let changes: Vec<_> =
                batch.iter().map(|(who, wei)| (payee(*who), U256::from(*wei))).collect();
            let before = (tree.clone(), expected.clone());
            tree.update(&changes, 2).unwrap();
            for (who, wei) in changes {
                match expected.iter_mut().find(|(payee, _)| *payee == who) {
                    Some(found) => found.1 = wei,
                    None => expected.push((who, wei)),
                }
            }
            check(&tree, &expected);
            check(&before.0, &before.1);
            prop_assert_eq!(PaymentTree::new(expected.clone()).unwrap().root(), tree.root());
        }
        for (who, wei) in &expected {
            let (_, proof) = tree.prove(*who).unwrap();
            prop_assert!(proof.verify(tree.root(), *who, *wei));
        }
    }

    #[test]
    fn random_proofs_do_not_verify(
        hashes in vec(any::<[u8; 32]>(), 0..8),
        wei in any::<u128>(),
    ) {
        let tree = PaymentTree::new(payees(9)).unwrap();
        let proof = Proof(hashes.into_iter().map(B256::from).collect());
        prop_assert!(!proof.verify(tree.root(), Address::repeat_byte(9), U256::from(wei)));
    }
}
