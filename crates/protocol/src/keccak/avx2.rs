//! Keccak-f[1600] over four states at once: lane `i` of all four is one AVX2 register.
//!
//! Everything here is safe but for the need of a CPU with AVX2; only the caller can promise that.

use std::arch::x86_64::{
    __m256i, _mm256_andnot_si256, _mm256_extract_epi64, _mm256_or_si256, _mm256_set_epi64x,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_xor_si256,
};

use alloy::primitives::B256;

/// The state: lane (x, y) at `x + 5 * y`.
type State = [__m256i; 25];

/// What iota adds in each round.
const ROUNDS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

macro_rules! rotate {
    ($lane:expr, 0) => {
        $lane
    };
    ($lane:expr, $by:literal) => {{
        let lane = $lane;
        _mm256_or_si256(_mm256_slli_epi64::<$by>(lane), _mm256_srli_epi64::<{ 64 - $by }>(lane))
    }};
}

/// A row of the next state: theta's last step, rho, pi and chi over the five lanes it comes from.
/// A row at a time keeps few values alive: there are 16 registers for 25 lanes.
macro_rules! row {
    ($to:ident, $at:literal, $from:ident, $d:ident; $($lane:literal << $by:tt),+) => {{
        let b = [$(rotate!(_mm256_xor_si256($from[$lane], $d[$lane % 5]), $by)),+];
        $to[$at] = _mm256_xor_si256(b[0], _mm256_andnot_si256(b[1], b[2]));
        $to[$at + 1] = _mm256_xor_si256(b[1], _mm256_andnot_si256(b[2], b[3]));
        $to[$at + 2] = _mm256_xor_si256(b[2], _mm256_andnot_si256(b[3], b[4]));
        $to[$at + 3] = _mm256_xor_si256(b[3], _mm256_andnot_si256(b[4], b[0]));
        $to[$at + 4] = _mm256_xor_si256(b[4], _mm256_andnot_si256(b[0], b[1]));
    }};
}

#[target_feature(enable = "avx2")]
#[inline]
fn round(from: &State, to: &mut State, constant: u64) {
    let column = |x: usize| {
        let low = _mm256_xor_si256(_mm256_xor_si256(from[x], from[x + 5]), from[x + 10]);
        _mm256_xor_si256(low, _mm256_xor_si256(from[x + 15], from[x + 20]))
    };
    let c = [column(0), column(1), column(2), column(3), column(4)];
    let d = [
        _mm256_xor_si256(c[4], rotate!(c[1], 1)),
        _mm256_xor_si256(c[0], rotate!(c[2], 1)),
        _mm256_xor_si256(c[1], rotate!(c[3], 1)),
        _mm256_xor_si256(c[2], rotate!(c[4], 1)),
        _mm256_xor_si256(c[3], rotate!(c[0], 1)),
    ];
    row!(to, 0, from, d; 0 << 0, 6 << 44, 12 << 43, 18 << 21, 24 << 14);
    to[0] = _mm256_xor_si256(to[0], _mm256_set1_epi64x(constant.cast_signed()));
    row!(to, 5, from, d; 3 << 28, 9 << 20, 10 << 3, 16 << 45, 22 << 61);
    row!(to, 10, from, d; 1 << 1, 7 << 6, 13 << 25, 19 << 8, 20 << 18);
    row!(to, 15, from, d; 4 << 27, 5 << 36, 11 << 10, 17 << 15, 23 << 56);
    row!(to, 20, from, d; 2 << 62, 8 << 55, 14 << 39, 15 << 41, 21 << 2);
}

/// The hashes of four inputs of a single block, for each four. `N` is a multiple of 8, below 136.
#[target_feature(enable = "avx2")]
pub(super) fn hash_fours<const N: usize>(inputs: &[[[u8; N]; 4]], hashes: &mut [[B256; 4]]) {
    for (four, hashes) in inputs.iter().zip(hashes) {
        let word = |of: usize, at: usize| {
            let (words, _) = four[of].as_chunks();
            i64::from_le_bytes(words[at])
        };
        let mut state = [_mm256_setzero_si256(); 25];
        for (at, lane) in state.iter_mut().enumerate().take(N / 8) {
            *lane = _mm256_set_epi64x(word(3, at), word(2, at), word(1, at), word(0, at));
        }
        // Padding: a one right after the input, and one at the end of the block's 17 lanes.
        state[N / 8] = _mm256_set1_epi64x(1);
        state[16] = _mm256_xor_si256(state[16], _mm256_set1_epi64x(i64::MIN));
        let mut other = state;
        for two in ROUNDS.as_chunks::<2>().0 {
            round(&state, &mut other, two[0]);
            round(&other, &mut state, two[1]);
        }
        for (at, lane) in state.iter().enumerate().take(4) {
            let words = [
                _mm256_extract_epi64::<0>(*lane),
                _mm256_extract_epi64::<1>(*lane),
                _mm256_extract_epi64::<2>(*lane),
                _mm256_extract_epi64::<3>(*lane),
            ];
            for (hash, word) in hashes.iter_mut().zip(words) {
                hash.0.as_chunks_mut().0[at] = word.to_le_bytes();
            }
        }
    }
}
