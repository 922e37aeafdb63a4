//! Which replica: the less loaded of two chosen at random, among those that can be used.

use std::sync::{Arc, atomic::Ordering};

use kinesis_control::{AppRoute, ReplicaRoute};

/// A usable replica that is not among `avoided`; `None` where there is none.
pub(crate) fn replica<'a>(
    route: &'a AppRoute,
    avoided: &[Arc<ReplicaRoute>],
) -> Option<&'a Arc<ReplicaRoute>> {
    let replicas = route.replicas.as_slice();
    let usable = |index: usize| {
        let replica: &Arc<ReplicaRoute> = &replicas[index];
        replica.is_usable() && !avoided.iter().any(|avoided| Arc::ptr_eq(avoided, replica))
    };
    let load = |index: usize| replicas[index].client.traffic().in_flight.load(Ordering::Relaxed);
    let chosen = match replicas.len() {
        0 => None,
        1 => usable(0).then_some(0),
        count => of_two(count, usable, load, rand::random()),
    };
    chosen.map(|index| &replicas[index])
}

/// The less loaded of two usable ones of `count`, each found by going on from a random place.
fn of_two(
    count: usize,
    usable: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> u32,
    random: u64,
) -> Option<usize> {
    let below = |random: u64, below: usize| {
        usize::try_from(random % below as u64).expect("it is below a usize")
    };
    let from = |start: usize, steps: usize| {
        (0..steps).map(|step| (start + step) % count).find(|index| usable(*index))
    };
    let first = from(below(random & 0xffff_ffff, count), count)?;
    // Any of the others: what is usable among them, or the first alone.
    let start = first + 1 + below(random >> 32, count - 1);
    let second = (0..count)
        .map(|step| (start + step) % count)
        .find(|index| *index != first && usable(*index));
    match second {
        Some(second) if load(second) < load(first) => Some(second),
        _ => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_usable_is_chosen() {
        for random in 0..200_u64 {
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(of_two(5, |_| false, |_| 0, random), None);
            assert_eq!(of_two(5, |i| i == 3, |_| 0, random), Some(3));
            let chosen = of_two(5, |i| i != 2, |_| 0, random).unwrap();
            assert_ne!(chosen, 2);
        }
    }

    #[test]
    fn the_less_loaded_of_two_is_chosen_and_every_one_has_its_turn() {
        let mut chosen = [0; 4];
        for random in 0..4_000_u64 {
            let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let two = of_two(2, |_| true, |i| [7, 3][i], random);
            assert_eq!(two, Some(1));
            chosen[of_two(4, |_| true, |i| u32::from(i == 0), random).unwrap()] += 1;
        }
        // The loaded one is chosen only against nobody, which is never.
        assert_eq!(chosen[0], 0);
        assert!(chosen[1..].iter().all(|times| *times > 500), "{chosen:?}");
    }
}
