//! The page as it is sent, from a picture in which everything occurs once.

use std::collections::BTreeMap;

use kinesis_control::api::{
    AppKind, AppState, AppView, DeskView, Event, GridView, JobView, NodeView, PartView,
    PriceSource, PriceView, ReplicaView, Role, RootView, StockView, TotalsView, TradeView,
};
use kinesis_protocol::{
    AccountId, Address, AppId, B256, Counters, Epoch, JoulePrice, LeaseId, NanoJoule, NanoUsd,
    NodeId, Prices, Resources, Tier, U256,
};

use super::{Happening, Picture, document, sections};

fn node(n: u8, name: &str, tier: Tier, state: &str) -> NodeView {
    let offered = Resources { cpu_millis: 4_000, mem_mib: 8_192, ..Resources::default() };
    NodeView {
        node: NodeId([n; 32]),
        name: name.to_owned(),
        supplier: Address::repeat_byte(n),
        tier,
        region: if n == 1 { "eu-west".to_owned() } else { String::new() },
        state: state.to_owned(),
        paused: (n == 3).then(|| "its owner is at the keyboard".to_owned()),
        withheld: None,
        offered,
        free: Resources { cpu_millis: 3_500, mem_mib: 768, ..offered },
        prices: Prices::default(),
        benchmark: None,
        attributes: BTreeMap::new(),
        leases: u32::from(n),
        earned_nanojoule: NanoJoule(1_230_000_000 * i64::from(n)),
        earned_last_second_nanojoule: NanoJoule(i64::from(2 - n.min(2)) * 4_100),
    }
}

fn replica(n: u8, role: Role, state: &str) -> ReplicaView {
    ReplicaView {
        replica: 0,
        epoch: Epoch(u64::from(n)),
        lease: LeaseId::from_bytes([n; 16]),
        role,
        state: state.to_owned(),
        version: 2,
        node: NodeId([n; 32]),
        node_name: format!("node {n}"),
        supplier: Address::repeat_byte(n),
        tier: Tier::Crowd,
        counters: Counters::default(),
    }
}

fn app(n: u8, name: &str, kind: AppKind, state: AppState) -> AppView {
    AppView {
        id: AppId::from_bytes([n; 16]),
        account: AccountId::from_bytes([9; 16]),
        name: name.to_owned(),
        kind,
        state,
        reason: None,
        warning: None,
        url: (kind == AppKind::Service).then(|| format!("http://{name}.localhost:8080")),
        version: 2,
        versions: vec![],
        replicas: vec![],
        requests: 12_345,
        spent_nanousd: NanoUsd(3_480),
        budget_nanousd: None,
        job: None,
        created_at_ms: 0,
    }
}

fn part(part: u32, state: &str, ending: Option<&str>) -> PartView {
    PartView {
        part,
        state: state.to_owned(),
        attempts: part + 1,
        node: None,
        node_name: (state != "queued").then(|| "tower".to_owned()),
        tier: None,
        ending: ending.map(str::to_owned),
        wall_ms: (state == "completed").then_some(2_320),
        outputs: vec![],
        result: None,
    }
}

fn desk() -> DeskView {
    let price = JoulePrice::new(10_000_000).unwrap();
    DeskView {
        price: PriceView {
            price_nanousd: price,
            source: PriceSource::Market,
            age_ms: Some(1_900),
            stale: false,
            problem: None,
        },
        stock: Some(StockView {
            usd_nanousd: NanoUsd(9_980_000_000_000),
            wallet_nanojoule: NanoJoule(994_000_000_000),
            spare_nanojoule: NanoJoule(999_990_000_000),
            low_nanojoule: NanoJoule(200_000_000_000),
            high_nanojoule: NanoJoule(2_000_000_000_000),
            sell_above_nanojoule: NanoJoule(4_000_000_000_000),
            day_nanousd: NanoUsd(20_000_000_000),
            day_max_nanousd: NanoUsd(1_000_000_000_000),
            held: None,
            at_ms: 9,
        }),
        result_nanousd: NanoUsd(-60_000_000),
        position_nanojoule: NanoJoule(1_993_990_000_000),
        trades: vec![TradeView {
            number: 1,
            side: "buy".to_owned(),
            state: "done".to_owned(),
            usd_nanousd: Some(NanoUsd(-20_000_000_000)),
            joule_nanojoule: Some(NanoJoule(1_994_000_000_000)),
            price_nanousd: price,
            planned_at_ms: 5,
            transaction: Some(B256::repeat_byte(7)),
            reason: None,
        }],
    }
}

fn empty() -> Picture {
    let grid = GridView {
        nodes: vec![],
        apps: vec![],
        root: None,
        totals: TotalsView::default(),
        joule_price: JoulePrice::new(10_000_000).unwrap(),
        desk: None,
        chain_id: 31_337,
        escrow: Address::repeat_byte(0xe5),
        now_ms: 0,
    };
    Picture { grid, happened: vec![] }
}

fn full() -> Picture {
    let mut picture = empty();
    let grid = &mut picture.grid;
    grid.nodes = vec![
        node(1, "den", Tier::Crowd, "up"),
        node(2, "tower", Tier::Datacenter, "silent"),
        node(3, "<script>alert(1)</script>", Tier::Crowd, "paused"),
    ];
    let mut web = app(1, "guestbook", AppKind::Service, AppState::Running);
    web.replicas = vec![replica(1, Role::Active, "active"), replica(2, Role::Standby, "warm")];
    let mut dear = app(2, "dear", AppKind::Service, AppState::OverBudget);
    dear.budget_nanousd = Some(NanoUsd(5_000_000_000));
    web.warning = Some("it cost $4.00 of its budget of $5.00".to_owned());
    dear.reason = Some("its budget of $5.00 is used up".to_owned());
    let mut job = app(3, "frames", AppKind::Job, AppState::Running);
    job.job = Some(JobView {
        parts_total: 3,
        parts_completed: 1,
        parts: vec![
            part(0, "completed", Some("completed")),
            part(1, "running", Some("node failed: gone")),
            part(2, "queued", None),
        ],
    });
    grid.apps = vec![web, dear, job];
    grid.root = Some(RootView {
        utility: Address::repeat_byte(0xab),
        series: 1,
        tick: 1_234,
        root: B256::repeat_byte(0xcd),
        total_wei: U256::from(7_380_000_000_u64) * U256::from(1_000_000_000),
        payees: 3,
        signed_at_ms: 5,
    });
    grid.totals = TotalsView {
        customer_nanousd: NanoUsd(1_160),
        suppliers_nanousd: NanoUsd(1_000),
        margin_nanousd: NanoUsd(150),
        fee_nanousd: NanoUsd(10),
        suppliers_nanojoule: NanoJoule(100_000),
        ..TotalsView::default()
    };
    grid.desk = Some(desk());
    let lease = LeaseId::from_bytes([1; 16]);
    picture.happened = vec![
        Happening {
            at_ms: 47_109_000,
            event: Event::TakeOver {
                app: AppId::from_bytes([1; 16]),
                replica: 0,
                from: lease,
                to: lease,
                node: NodeId([2; 32]),
                name: "tower".to_owned(),
            },
        },
        Happening {
            at_ms: 47_108_000,
            event: Event::NodeLost {
                node: NodeId([1; 32]),
                name: "den".to_owned(),
                reason: "its process ended".to_owned(),
            },
        },
    ];
    picture
}

/// One element a line, so that a change is seen where it is.
fn lines(html: &str) -> String {
    html.replace("><", ">\n<")
}

#[test]
fn a_full_grid() {
    insta::assert_snapshot!(lines(&document(&full()).into_string()));
}

#[test]
fn an_empty_grid_says_what_to_type() {
    insta::assert_snapshot!(lines(&sections(&empty()).into_string()));
}

#[test]
fn what_people_named_is_text_and_nothing_else() {
    let html = document(&full()).into_string();
    assert!(!html.contains("<script>alert"), "{html}");
    assert!(html.contains("&lt;script&gt;alert(1)"));
    // The policy forbids what is inline: nothing on the page may need it.
    assert!(!html.contains("style=") && !html.contains("onclick"));
    assert_eq!(html.matches("<script").count(), 1);
}

#[test]
fn a_difference_is_shown_in_red() {
    let mut picture = empty();
    picture.grid.totals.difference = 7;
    let html = sections(&picture).into_string();
    assert!(html.contains("data-difference=\"7\""));
    assert!(!html.contains(">exact<"));
}

#[test]
fn a_desk_that_waits_says_why() {
    let mut picture = full();
    let desk = picture.grid.desk.as_mut().unwrap();
    desk.stock.as_mut().unwrap().held = Some("the market offers <less>".to_owned());
    let waits = sections(&picture).into_string();
    assert!(waits.contains("the market offers &lt;less&gt;") && waits.contains("waits"), "{waits}");
    let desk = picture.grid.desk.as_mut().unwrap();
    desk.price.stale = true;
    desk.price.source = PriceSource::Fixed;
    let old = sections(&picture).into_string();
    assert!(old.contains("price too old") && old.contains("(fixed)"), "{old}");
    // Without a market there is no desk to show.
    picture.grid.desk.as_mut().unwrap().stock = None;
    assert!(!sections(&picture).into_string().contains("id=\"desk\""));
}
