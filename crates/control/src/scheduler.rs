//! Where a lease goes, and why not elsewhere. Pure: a request, the nodes as they are, a choice.
//!
//! A node that will not do is refused by the first filter it fails, in words its owner and the
//! customer understand. Among the others the best score wins; equal scores go to the smaller id, so
//! that the same grid always gives the same answer.

use kinesis_protocol::{
    Address, Benchmark, NanoUsd, NodeId, Resources, Tier, manifest::Optimise, resources::NodeInfo,
};

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
    /// What comes on top of the node's own price, margin and fee together, in ten-thousandths.
    pub markup_bp: u32,
    /// Suppliers that hold the replica already: the standby must survive each of them.
    pub other_than: Vec<Address>,
    /// Nodes that were tried in vain a moment ago.
    pub refused_by: Vec<(NodeId, String)>,
    /// Nodes that failed at it before: taken only where nobody else will do.
    pub avoid: Vec<NodeId>,
    /// Suppliers that hold other replicas of the app: others are preferred.
    pub spread_from: Vec<Address>,
}

/// A node as the fleet sees it.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// What it says of itself.
    pub info: &'a NodeInfo,
    /// What is free, less what was asked of it since.
    pub free: Resources,
    /// Why it takes nothing now: away, silent, leaving, paused.
    pub closed: Option<String>,
    /// What it proved of its speed.
    pub benchmark: Option<Benchmark>,
    /// Leases it holds.
    pub leases: u32,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Where; `None` where no node will do.
    pub node: Option<NodeId>,
    /// Who will not do, and why.
    pub refusals: Vec<(NodeId, String)>,
}

/// What an hour of `wanted` in full use costs the customer on a node.
#[must_use]
pub fn per_hour(info: &NodeInfo, wanted: &Resources, markup_bp: u32) -> NanoUsd {
    let base = info.prices.per_hour(wanted);
    base.checked_add(base.share(markup_bp)).unwrap_or(NanoUsd(i64::MAX))
}

/// Picks a node.
#[must_use]
pub fn choose<'a>(request: &Request, nodes: impl Iterator<Item = Candidate<'a>>) -> Choice {
    let mut refusals = Vec::new();
    let mut best: Option<(Score, NodeId)> = None;
    for node in nodes {
        if let Some(reason) = refusal(request, &node) {
            refusals.push((node.info.node, reason));
            continue;
        }
        let scored = (score(request, &node), node.info.node);
        if best.as_ref().is_none_or(|best| scored < *best) {
            best = Some(scored);
        }
    }
    Choice { node: best.map(|(_, node)| node), refusals }
}

/// Why a node will not do; `None` where it will.
#[must_use]
pub fn refusal(request: &Request, node: &Candidate<'_>) -> Option<String> {
    let info = node.info;
    if let Some(reason) = &node.closed {
        return Some(reason.clone());
    }
    if let Some((_, reason)) = request.refused_by.iter().find(|(id, _)| *id == info.node) {
        return Some(format!("it refused a moment ago: {reason}"));
    }
    if let Some(tier) = request.tier.filter(|tier| *tier != info.tier) {
        return Some(format!("its tier is {}, {tier} is wanted", info.tier));
    }
    if let Some(region) = request.region.as_ref().filter(|region| **region != info.region) {
        let own = if info.region.is_empty() { "not named" } else { &info.region };
        return Some(format!("its region is {own}, {region} is wanted"));
    }
    if let Some(short) = info.offered.shortfall(&request.wanted) {
        return Some(format!("too small for it even when empty: {short}"));
    }
    if let Some(short) = node.free.shortfall(&request.wanted) {
        return Some(short);
    }
    if request.other_than.contains(&info.supplier) {
        return Some("its supplier holds this replica already".into());
    }
    let cost = per_hour(info, &request.wanted, request.markup_bp);
    if let Some(most) = request.max_per_hour.filter(|most| cost > *most) {
        return Some(format!("an hour in full use costs {cost} there, the cap is {most}"));
    }
    if request.covered.is_some_and(|covered| cost > covered) {
        return Some("the account's balance does not last for what full use costs there".into());
    }
    None
}

/// The smaller the better, first difference decides.
type Score = (bool, bool, i64, i64, u32);

fn score(request: &Request, node: &Candidate<'_>) -> Score {
    let cost = per_hour(node.info, &request.wanted, request.markup_bp).0;
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
    (
        request.avoid.contains(&node.info.node),
        request.spread_from.contains(&node.info.supplier),
        first,
        second,
        node.leases,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_protocol::{AttoUsd, Prices};
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

    fn candidate(info: &NodeInfo) -> Candidate<'_> {
        Candidate { info, free: info.offered, closed: None, benchmark: None, leases: 0 }
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
        let nodes = || {
            let fast = Benchmark { rounds_per_second: 9_000_000 };
            [Candidate { benchmark: Some(fast), ..candidate(&dear) }, candidate(&cheap)].into_iter()
        };
        assert_eq!(choose(&wanted(), nodes()).node, Some(cheap.node));
        let latency = Request { optimise: Optimise::Latency, ..wanted() };
        assert_eq!(choose(&latency, nodes()).node, Some(dear.node));
    }

    #[test]
    fn every_refusal_is_explained() {
        let a = info(1, 1, 20_000_000);
        let reason = |request: Request, node: Candidate<'_>| {
            choose(&request, [node].into_iter()).refusals.pop().map(|(_, reason)| reason)
        };
        let free = candidate(&a);
        assert_eq!(reason(wanted(), free.clone()), None);
        let says = |request: Request, node: Candidate<'_>, words: &str| {
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
        let nodes = || [candidate(&a), candidate(&b)].into_iter();
        let avoid = Request { avoid: vec![a.node], ..wanted() };
        assert_eq!(choose(&avoid, nodes()).node, Some(b.node));
        assert_eq!(choose(&avoid, nodes().take(1)).node, Some(a.node));
        let spread = Request { spread_from: vec![a.supplier], ..wanted() };
        assert_eq!(choose(&spread, nodes()).node, Some(b.node));
    }

    proptest! {
        #[test]
        fn a_chosen_node_always_fits(
            nodes in prop::collection::vec((0..6_u8, 0..4_000_u32, 0..2_048_u32, any::<bool>()), 0..12),
            other in 0..6_u8,
        ) {
            let infos: Vec<_> = nodes.iter().enumerate()
                .map(|(i, (supplier, ..))| info(u8::try_from(i).unwrap(), *supplier, 1))
                .collect();
            let request = Request { other_than: vec![Address::repeat_byte(other)], ..wanted() };
            let all = || infos.iter().zip(&nodes).map(|(info, (_, cpu, mem, closed))| Candidate {
                free: Resources { cpu_millis: *cpu, mem_mib: *mem, ..Resources::default() },
                closed: closed.then(|| "closed".into()),
                ..candidate(info)
            });
            let choice = choose(&request, all());
            prop_assert_eq!(choice.refusals.len() + usize::from(choice.node.is_some()) <= nodes.len(), true);
            if let Some(chosen) = choice.node {
                let node = all().find(|node| node.info.node == chosen).unwrap();
                prop_assert!(node.free.fits(&request.wanted) && node.closed.is_none());
                prop_assert!(node.info.supplier != Address::repeat_byte(other));
            } else {
                prop_assert_eq!(choice.refusals.len(), nodes.len());
            }
        }
    }
}
