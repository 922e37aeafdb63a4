//! Keccak-256 of many short inputs of one length: four at once where the CPU has AVX2, one after the
//! other elsewhere. The hashes are the same.
//!
//! One state does not gain from wide registers, but four states side by side need little more time
//! than one. No maintained crate does this on stable Rust under a licence that fits (the `keccak`
//! crate needs nightly for it), so the permutation is written out in [`avx2`], without a pointer in
//! it, and tested against alloy's for every length that is used.

use alloy::primitives::{B256, keccak256};

#[cfg(target_arch = "x86_64")]
mod avx2;

/// Writes the hash of `inputs[i]` to `hashes[i]`.
///
/// `N` is a multiple of 8 and below the 136 bytes that one permutation takes; what does not satisfy
/// this does not compile.
///
/// # Panics
/// Where the two slices differ in length.
pub(crate) fn hash_each<const N: usize>(inputs: &[[u8; N]], hashes: &mut [B256]) {
    const { assert!(N.is_multiple_of(8) && N < 136) };
    assert_eq!(inputs.len(), hashes.len(), "one hash for each input");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        let (fours, rest) = inputs.as_chunks();
        let (four_hashes, rest_hashes) = hashes.as_chunks_mut();
        // SAFETY: this CPU has AVX2.
        unsafe { avx2::hash_fours(fours, four_hashes) };
        if rest.len() > 1 {
            // Two or three cost less as four than each by itself.
            let four: [[u8; N]; 4] = std::array::from_fn(|i| rest[i.min(rest.len() - 1)]);
            let mut padded = [[B256::ZERO; 4]];
            // SAFETY: this CPU has AVX2.
            unsafe { avx2::hash_fours(&[four], &mut padded) };
            rest_hashes.copy_from_slice(&padded[0][..rest.len()]);
        } else {
            one_by_one(rest, rest_hashes);
        }
        return;
    }
    one_by_one(inputs, hashes);
}

fn one_by_one<const N: usize>(inputs: &[[u8; N]], hashes: &mut [B256]) {
    for (input, hash) in inputs.iter().zip(hashes) {
        *hash = keccak256(input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn agrees<const N: usize>(bytes: &[u8]) {
        let (inputs, _) = bytes.as_chunks::<N>();
        let expected: Vec<B256> = inputs.iter().map(keccak256).collect();
        let mut hashes = vec![B256::ZERO; inputs.len()];
        hash_each(inputs, &mut hashes);
        assert_eq!(hashes, expected, "{N} bytes");
        let mut hashes = vec![B256::ZERO; inputs.len()];
        one_by_one(inputs, &mut hashes);
        assert_eq!(hashes, expected, "{N} bytes, one by one");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn four_at_once_hash_as_one_does(bytes in vec(any::<u8>(), 0..64 * 11)) {
            // The lengths of a leaf and of a pair, and the shortest and the longest of one block.
            agrees::<32>(&bytes);
            agrees::<64>(&bytes);
            agrees::<8>(&bytes);
            agrees::<128>(&bytes);
        }
    }

    #[test]
    fn a_known_hash() {
        // keccak256 of 32 zero bytes, as every EVM has it.
        let known = "290decd9548b62a8d60345a988386fc84ba6bc95484008f6362f93160ef3e563";
        let mut hashes = [B256::ZERO; 5];
        hash_each(&[[0; 32]; 5], &mut hashes);
        assert!(hashes.iter().all(|hash| hex::encode(hash) == known));
    }
}
