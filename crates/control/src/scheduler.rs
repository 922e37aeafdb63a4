//! Where a lease goes, and why not elsewhere. Pure: a request, the nodes as they are, a choice.
//!
//! A node that will not do is refused by the first filter it fails, in words its owner and the
//! customer understand. Among the others the best score wins; equal scores go to the smaller id, so
//! that the same grid always gives the same answer.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use kinesis_protocol::{
    Address, Benchmark, Counters, NanoUsd, NodeId, Prices, Resources, Tier, manifest::Optimise,
    resources::NodeInfo,
};

/// Bytes each way in a second that a balance must be able to bear, of whatever answers requests.
pub const TRAFFIC_BYTES: u64 = 1 << 20;

/// What is to be placed.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What it needs.
    pub wanted: Resources,
    /// Only this tier.
    pub tier: Option<Tier>,
    /// Only this region.
    pub region: Option<String>,
    /// What to prefer.
    pub optimise: Optimise,
    /// The most an hour in full use may cost the customer.
    pub max_per_hour: Option<NanoUsd>,
    /// The most that an hour in full use may cost, so that the account's balance lasts until its
    /// spending has been seen. `None`: nobody knows the balance.
    pub covered: Option<NanoUsd>,
    /// The same for what is left of the app's budget. `None`: it has none, or is a job.
    pub budgeted: Option<NanoUsd>,
    /// What comes on top of the node's own price, margin and fee together, in ten-thousandths.
    pub markup_bp: u32,
    /// Suppliers that hold the replica already: the standby must survive each of them.
    pub other_than: Vec<Address>,
    /// Nodes that were tried in vain a moment ago.
    pub refused_by: Vec<(NodeId, String)>,
    /// Nodes that failed at it before: taken only where nobody else will do.
    pub avoid: Vec<NodeId>,
    /// Suppliers that failed at it before: the same.
    pub avoid_suppliers: Vec<Address>,
    /// Whether others have kept it waiting: who has nothing to show comes last.
    pub urgent: bool,
    /// Whether it answers requests: `covered` must last for some traffic, too.
    pub traffic: bool,
    /// Suppliers that hold other replicas of the app: others are preferred.
    pub spread_from: Vec<Address>,
}

/// A node as the fleet sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What it says of itself.
    pub info: Arc<NodeInfo>,
    /// What is free, less what was asked of it since.
    pub free: Resources,
    /// Why it takes nothing now: away, silent, leaving, paused.
    pub closed: Option<String>,
    /// What it proved of its speed.
    pub benchmark: Option<Benchmark>,
    /// Leases it holds.
    pub leases: u32,
    /// Whether a lease became ready on it before.
    pub proven: bool,
    /// Whether it granted leases lately that never became ready.
    pub late: bool,
}

impl Candidate {
    /// Counts one more lease as held by it.
    pub fn take(&mut self, wanted: &Resources) {
        self.free = self.free.saturating_sub(wanted);
        self.leases = self.leases.saturating_add(1);
    }
}

/// What an hour of `wanted` in full use costs the customer on a node.
#[must_use]
pub fn per_hour(info: &NodeInfo, wanted: &Resources, markup_bp: u32) -> NanoUsd {
    marked_up(info.prices.per_hour(wanted), markup_bp)
}

/// With margin and fee.
#[must_use]
pub fn marked_up(share: NanoUsd, markup_bp: u32) -> NanoUsd {
    share.checked_add(share.share(markup_bp)).unwrap_or(NanoUsd(i64::MAX))
}

/// What an hour of the least traffic that an account must be able to pay costs the customer: of
/// [`TRAFFIC_BYTES`] each way in each second.
#[must_use]
pub fn traffic_per_hour(prices: &Prices, markup_bp: u32) -> NanoUsd {
    let bytes = TRAFFIC_BYTES * 3_600;
    let counters = Counters { rx_bytes: bytes, tx_bytes: bytes, ..Counters::default() };
    marked_up(prices.cost(&counters), markup_bp)
}

/// What an hour may cost that the account's balance must be able to bear.
fn at_risk(request: &Request, node: &Candidate) -> NanoUsd {
    let full = per_hour(&node.info, &request.wanted, request.markup_bp);
    if !request.traffic {
        return full;
    }
    let traffic = traffic_per_hour(&node.info.prices, request.markup_bp);
    full.checked_add(traffic).unwrap_or(NanoUsd(i64::MAX))
}

/// Picks a node: its place among `nodes`, `None` where none will do.
#[must_use]
pub fn choose(request: &Request, nodes: &[Candidate]) -> Option<usize> {
    nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| fits(request, node))
        .min_by_key(|(_, node)| (score(request, node), node.info.node))
        .map(|(at, _)| at)
}

/// Picks nodes for `count` leases that ask for the same, one after the other, as [`choose`] would:
/// their places, fewer where no more will do. What is picked is counted as held.
#[must_use]
pub fn spread(request: &Request, nodes: &mut [Candidate], count: usize) -> Vec<usize> {
    let mut covered = request.covered;
    let mut ranked: BinaryHeap<Reverse<(Score, NodeId, usize)>> = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| fits(request, node))
        .map(|(at, node)| Reverse((score(request, node), node.info.node, at)))
        .collect();
    let mut picked = Vec::new();
    while picked.len() < count {
        let Some(Reverse((_, id, at))) = ranked.pop() else { break };
        let node = &mut nodes[at];
        let cost = at_risk(request, node);
        if covered.is_some_and(|covered| cost > covered) {
            // A cheaper one may still do.
            continue;
        }
        covered = covered.map(|covered| covered - cost);
        node.take(&request.wanted);
        picked.push(at);
        if node.free.fits(&request.wanted) {
            ranked.push(Reverse((score(request, node), id, at)));
        }
    }
    picked
}

/// Who will not do, and why.
#[must_use]
pub fn refusals(request: &Request, nodes: &[Candidate]) -> Vec<(NodeId, String)> {
    nodes
        .iter()
        .filter_map(|node| Some((node.info.node, refusal(request, node, |why| why())?)))
        .collect()
}

fn fits(request: &Request, node: &Candidate) -> bool {
    refusal(request, node, |_| ()).is_none()
}

/// Why a node will not do; `None` where it will. Put into words only where `say` wants them.
fn refusal<T>(
    request: &Request,
    node: &Candidate,
    say: impl Fn(&dyn Fn() -> String) -> T,
) -> Option<T> {
    let info = &node.info;
    if let Some(reason) = &node.closed {
        return Some(say(&|| reason.clone()));
    }
    if let Some((_, reason)) = request.refused_by.iter().find(|(id, _)| *id == info.node) {
        return Some(say(&|| format!("it refused a moment ago: {reason}")));
    }
    if let Some(tier) = request.tier.filter(|tier| *tier != info.tier) {
        return Some(say(&|| format!("its tier is {}, {tier} is wanted", info.tier)));
    }
    if let Some(region) = request.region.as_ref().filter(|region| **region != info.region) {
        let own = if info.region.is_empty() { "not named" } else { &info.region };
        return Some(say(&|| format!("its region is {own}, {region} is wanted")));
    }
    let short = |free: &Resources| free.shortfall(&request.wanted).unwrap_or_default();
    if !info.offered.fits(&request.wanted) {
        let why = || format!("too small for it even when empty: {}", short(&info.offered));
        return Some(say(&why));
    }
    if !node.free.fits(&request.wanted) {
        return Some(say(&|| short(&node.free)));
    }
    if request.other_than.contains(&info.supplier) {
        return Some(say(&|| "its supplier holds this replica already".into()));
    }
    let cost = per_hour(info, &request.wanted, request.markup_bp);
    if let Some(most) = request.max_per_hour.filter(|most| cost > *most) {
        let why = || format!("an hour in full use costs {cost} there, the cap is {most}");
        return Some(say(&why));
    }
    if request.covered.is_some_and(|covered| at_risk(request, node) > covered) {
        let why = "the account's balance does not last for what full use costs there";
        return Some(say(&|| why.into()));
    }
    if request.budgeted.is_some_and(|budgeted| at_risk(request, node) > budgeted) {
        let why = "what is left of its budget does not last for what full use costs there";
        return Some(say(&|| why.into()));
    }
    None
}

/// The smaller the better, first difference decides.
type Score = (Trust, bool, i64, i64, u32);

/// How little a node is trusted to do what it grants: it failed at this before, its supplier did, it
/// failed others lately, it has nothing to show yet.
type Trust = (bool, bool, bool, bool);

fn score(request: &Request, node: &Candidate) -> Score {
    let cost = per_hour(&node.info, &request.wanted, request.markup_bp).0;
    // Speeds within a tenth of each other are the same: a measurement is not that exact.
    let speed = node.benchmark.map_or(0, |b| b.rounds_per_second);
    let slowness = -i64::from(speed.checked_ilog2().unwrap_or(0) * 8)
        - i64::try_from(
            speed.checked_shr(speed.checked_ilog2().unwrap_or(0).saturating_sub(3)).unwrap_or(0),
        )
        .unwrap_or(0);
    let (first, second) = match request.optimise {
        Optimise::Cost => (cost, slowness),
        Optimise::Latency => (slowness, cost),
    };
    let trust = (
        request.avoid.contains(&node.info.node),
        request.avoid_suppliers.contains(&node.info.supplier),
        node.late,
        request.urgent && !node.proven,
    );
    let spread = request.spread_from.contains(&node.info.supplier);
    (trust, spread, first, second, node.leases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_protocol::AttoUsd;
    use proptest::prelude::*;

    fn info(id: u8, supplier: u8, wall: u64) -> NodeInfo {
        NodeInfo {
            node: NodeId([id; 32]),
            name: format!("node {id}"),
            supplier: Address::repeat_byte(supplier),
            tier: Tier::Crowd,
            region: "eu".into(),
            offered: Resources { cpu_millis: 2000, mem_mib: 1024, ..Resources::default() },
            prices: Prices { wall_ms: AttoUsd(wall), ..Prices::default() },
            attributes: Default::default(),
        }
    }

    fn candidate(info: &NodeInfo) -> Candidate {
        Candidate {
            info: Arc::new(info.clone()),
            free: info.offered,
            closed: None,
            benchmark: None,
            leases: 0,
            proven: true,
            late: false,
        }
    }

    fn chosen(request: &Request, nodes: &[Candidate]) -> Option<NodeId> {
        choose(request, nodes).map(|at| nodes[at].info.node)
    }

    fn wanted() -> Request {
        Request {
            wanted: Resources { cpu_millis: 500, mem_mib: 128, ..Resources::default() },
            markup_bp: 2_000,
            ..Request::default()
        }
    }

    #[test]
    fn the_cheapest_wins_and_the_fastest_where_asked() {
        let (dear, cheap) = (info(1, 1, 20_000_000), info(2, 2, 10_000_000));
        let fast = Benchmark { rounds_per_second: 9_000_000 };
        let nodes = [Candidate { benchmark: Some(fast), ..candidate(&dear) }, candidate(&cheap)];
        assert_eq!(chosen(&wanted(), &nodes), Some(cheap.node));
        let latency = Request { optimise: Optimise::Latency, ..wanted() };
        assert_eq!(chosen(&latency, &nodes), Some(dear.node));
    }

    #[test]
    fn every_refusal_is_explained() {
        let a = info(1, 1, 20_000_000);
        let reason = |request: Request, node: Candidate| {
            refusals(&request, &[node]).pop().map(|(_, reason)| reason)
        };
        let free = candidate(&a);
        assert_eq!(reason(wanted(), free.clone()), None);
        let says = |request: Request, node: Candidate, words: &str| {
            assert_eq!(choose(&request, std::slice::from_ref(&node)), None, "{words}");
            let reason = reason(request, node).unwrap_or_default();
            assert!(reason.contains(words), "{reason}");
        };
        says(Request { tier: Some(Tier::Datacenter), ..wanted() }, free.clone(), "tier is crowd");
        says(Request { region: Some("us".into()), ..wanted() }, free.clone(), "region is eu");
        says(Request { other_than: vec![a.supplier], ..wanted() }, free.clone(), "supplier holds");
        says(
            Request { max_per_hour: Some(NanoUsd(1)), ..wanted() },
            free.clone(),
            "the cap is $0.000000001",
        );
        let poor = Request { covered: Some(NanoUsd(1)), ..wanted() };
        says(poor, free.clone(), "balance does not last");
        let spent = Request { budgeted: Some(NanoUsd(1)), ..wanted() };
        says(spent, free.clone(), "left of its budget does not last");
        says(
            Request { refused_by: vec![(a.node, "owner is gaming".into())], ..wanted() },
            free.clone(),
            "owner is gaming",
        );
        says(wanted(), Candidate { closed: Some("away".into()), ..free.clone() }, "away");
        let full = Candidate { free: Resources::default(), ..free.clone() };
        says(wanted(), full, "500 wanted, 0 free");
        let mut huge = wanted();
        huge.wanted.mem_mib = 1_000_000;
        says(huge, free, "even when empty");
    }

    #[test]
    fn what_failed_before_is_taken_last_and_replicas_spread() {
        let (a, b) = (info(1, 1, 10), info(2, 2, 20_000_000));
        let nodes = [candidate(&a), candidate(&b)];
        let avoid = Request { avoid: vec![a.node], ..wanted() };
        assert_eq!(chosen(&avoid, &nodes), Some(b.node));
        assert_eq!(chosen(&avoid, &nodes[..1]), Some(a.node));
        let avoid = Request { avoid_suppliers: vec![a.supplier], ..wanted() };
        assert_eq!(chosen(&avoid, &nodes), Some(b.node));
        let spread = Request { spread_from: vec![a.supplier], ..wanted() };
        assert_eq!(chosen(&spread, &nodes), Some(b.node));
        let late = [Candidate { late: true, ..candidate(&a) }, candidate(&b)];
        assert_eq!(chosen(&wanted(), &late), Some(b.node));
    }

    #[test]
    fn who_has_nothing_to_show_is_no_second_choice() {
        let (new, known) = (info(1, 1, 10), info(2, 2, 20_000_000));
        let nodes = [Candidate { proven: false, ..candidate(&new) }, candidate(&known)];
        assert_eq!(chosen(&wanted(), &nodes), Some(new.node));
        let urgent = Request { urgent: true, ..wanted() };
        assert_eq!(chosen(&urgent, &nodes), Some(known.node));
    }

    #[test]
    fn a_balance_must_last_for_some_traffic_of_what_answers_requests() {
        let mut dear = info(1, 1, 1);
        dear.prices.tx_bytes = AttoUsd(10_000_000_000);
        // A dollar an hour lasts for its time, not for a mebibyte a second at $10 for a gigabyte.
        let request = Request { covered: Some(NanoUsd(1_000_000_000)), ..wanted() };
        assert_eq!(chosen(&request, &[candidate(&dear)]), Some(dear.node));
        let serves = Request { traffic: true, ..request };
        assert_eq!(chosen(&serves, &[candidate(&dear)]), None);
        let rich = Request { covered: Some(NanoUsd(50_000_000_000)), ..serves };
        assert_eq!(chosen(&rich, &[candidate(&dear)]), Some(dear.node));
    }

    proptest! {
        #[test]
        fn a_chosen_node_always_fits(
            nodes in prop::collection::vec((0..6_u8, 0..4_000_u32, 0..2_048_u32, any::<bool>()), 0..12),
            other in 0..6_u8,
        ) {
            let request = Request { other_than: vec![Address::repeat_byte(other)], ..wanted() };
            let all: Vec<Candidate> = nodes.iter().zip(0_u8..).map(|((supplier, cpu, mem, closed), i)| Candidate {
                free: Resources { cpu_millis: *cpu, mem_mib: *mem, ..Resources::default() },
                closed: closed.then(|| "closed".into()),
                ..candidate(&info(i, *supplier, 1))
            }).collect();
            let refused = refusals(&request, &all).len();
            match choose(&request, &all) {
                Some(at) => {
                    prop_assert!(refused < all.len());
                    prop_assert!(all[at].free.fits(&request.wanted) && all[at].closed.is_none());
                    prop_assert!(all[at].info.supplier != Address::repeat_byte(other));
                }
                None => prop_assert_eq!(refused, all.len()),
            }
        }

        #[test]
        fn many_at_once_go_where_they_would_go_one_by_one(
            nodes in prop::collection::vec((0..4_000_u32, 1..4_u64, any::<bool>()), 0..12),
            count in 0..30_usize,
            covered in prop::option::of(0..400_000_000_i64),
        ) {
            let mut all: Vec<Candidate> = nodes.iter().zip(0_u8..).map(|((cpu, price, late), i)| Candidate {
                free: Resources { cpu_millis: *cpu, mem_mib: 1_024, ..Resources::default() },
                late: *late,
                ..candidate(&info(i, i, price * 1_000_000_000))
            }).collect();
            let mut request = Request { covered: covered.map(NanoUsd), ..wanted() };
            let (mut one_by_one, whole) = (all.clone(), request.clone());
            let mut expected = Vec::new();
            for _ in 0..count {
                let Some(at) = choose(&request, &one_by_one) else { break };
                let cost = at_risk(&request, &one_by_one[at]);
                request.covered = request.covered.map(|covered| covered - cost);
                one_by_one[at].take(&request.wanted);
                expected.push(at);
            }
            prop_assert_eq!(spread(&whole, &mut all, count), expected);
        }
    }
}
