//! A store that fails at the worst moment: what was not written is not taken for written.

use kinesis_protocol::Prices;
use kinesis_store::PartState;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::*;

/// A utility over a file, and a second connection to it that can make writes fail.
struct Failing {
    utility: Utility,
    saboteur: SqliteConnection,
    _dir: tempfile::TempDir,
}

const JOB: &str = "name = \"work\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n";

impl Failing {
    async fn start() -> Self {
        Self::start_as(config()).await
    }

    async fn start_as(config: ControlConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", dir.path().display());
        let utility = Utility::start_over(config, &url).await;
        let saboteur = SqliteConnection::connect(&url).await.unwrap();
        Self { utility, saboteur, _dir: dir }
    }

    async fn run(&mut self, sql: String) {
        let deadline = Instant::now() + LONG;
        // The utility may be writing.
        while let Err(busy) =
            sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut self.saboteur).await
        {
            assert!(Instant::now() < deadline, "{busy}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From now on this write fails: `UPDATE OF ended_at_ms ON leases`, for instance.
    async fn fail(&mut self, write: &str) {
        self.run(format!(
            "CREATE TRIGGER fails BEFORE {write} BEGIN SELECT RAISE(FAIL, 'no'); END"
        ))
        .await;
    }

    async fn mend(&mut self) {
        self.run("DROP TRIGGER fails".to_owned()).await;
    }
}

/// Waits for an event.
async fn until_told(
    events: &mut tokio::sync::broadcast::Receiver<Arc<Event>>,
    fits: impl Fn(&Event) -> bool,
) {
    let told = async { while !events.recv().await.is_ok_and(|event| fits(&event)) {} };
    tokio::time::timeout(LONG, told).await.expect("it is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_was_not_written_is_said_again_after_a_restart() {
    let mut failing = Failing::start().await;
    let agent = failing.utility.supplier("den", Tier::Crowd).await;
    agent.behave(|agent| agent.job = JobScript::Runs);
    failing.utility.deploy(JOB).await;
    let active = |app: &AppView| app.replicas.iter().any(|lease| lease.state == "active");
    let app = failing.utility.until("work", "at work", active).await;
    let lease = app.replicas[0].lease;

    // Its end cannot be written, and then the utility stops.
    let mut events = failing.utility.control.subscribe();
    failing.fail("UPDATE OF ended_at_ms ON leases").await;
    agent.end(lease, Ending::Completed { outputs: Vec::new(), fuel: None, signed: None });
    let ended = |event: &Event| matches!(event, Event::Lease { lease: l, state, .. } if *l == lease && state == "ended");
    until_told(&mut events, ended).await;
    failing.utility.control.shutdown().await;
    // Nobody took it for recorded: not the grid that is gone now, and not the agent.
    let held = failing.utility.control.believed(app.id);
    assert!(held.iter().any(|(held, _)| *held == lease), "{held:?}");
    assert!(agent.leases().iter().any(|held| held.lease == lease), "its agent has forgotten it");
    assert_eq!(failing.utility.store.lease(lease).await.unwrap().unwrap().ending, None);

    // So it is told again, and counts once.
    failing.mend().await;
    failing.utility.restart().await;
    let utility = &failing.utility;
    let done = utility.until("work", "completed", |app| app.state == AppState::Completed).await;
    assert_eq!(done.job.unwrap().parts[0].attempts, 1);
    let leases = utility.store.leases_of(app.id).await.unwrap();
    assert_eq!(leases.len(), 1, "it was not run again: {leases:?}");
    assert!(matches!(leases[0].ending, Some(Ending::Completed { .. })));
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judgement_that_cannot_be_written_keeps_nobody_from_their_pay() {
    let cover = Duration::from_secs(2);
    let mut failing = Failing::start_as(ControlConfig { cover, ..config() }).await;
    let mut node = SimConfig::new("den", failing.utility.addr());
    // A millisecond costs a thousand billionths of a dollar, 1,170 with margin and fee: the budget is
    // enough for 2.1 s, and the app is over it once it has worked for 1.1 s.
    node.info.prices = Prices { wall_ms: AttoUsd(1_000_000_000_000), ..Prices::default() };
    node.behaviour.answers_in = Duration::from_millis(100);
    let agent = SimAgent::start(node).await.unwrap();
    let budget = "[scale]\nwarm = 0\n[budget]\nusd = \"0.002457\"\n";
    let app = failing.utility.deploy(&service("broke", budget)).await.id;
    failing.fail("UPDATE OF state ON apps").await;
    let utility = &failing.utility;
    // Stopping it fails in every second, and every second of its work is paid for: 3 s are 0.3 JOULE.
    let enough = U256::from(3) * U256::from(10).pow(U256::from(17));
    let works = async {
        loop {
            utility.get(app).await.unwrap();
        }
    };
    let paid = agent.paid(|proof| proof.cumulative_wei >= enough);
    let paid = tokio::time::timeout(LONG, async {
        tokio::select! {
            paid = paid => paid,
            () = works => unreachable!(),
        }
    });
    paid.await.expect("what it worked is signed all the same");
    assert_eq!(utility.app("broke").await.state, AppState::Running);
    failing.mend().await;
    let works = async { while failing.utility.get(app).await.is_ok() {} };
    tokio::time::timeout(LONG, works).await.expect("it is stopped once that can be written");
    assert_eq!(failing.utility.app("broke").await.state, AppState::OverBudget);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_written_by_half_is_written_whole() {
    let mut failing = Failing::start().await;
    let _agent = failing.utility.supplier("den", Tier::Crowd).await;
    failing.fail("UPDATE OF lease ON job_parts").await;
    let app = failing.utility.deploy(JOB).await;
    // Its lease is written, its part cannot be.
    let deadline = Instant::now() + LONG;
    while failing.utility.store.leases_of(app.id).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "no lease was written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    failing.mend().await;
    let utility = &failing.utility;
    utility.until("work", "completed", |app| app.state == AppState::Completed).await;
    let open = utility.store.unfinished_leases(1).await.unwrap();
    assert!(open.is_empty(), "a lease is left that nobody holds: {open:?}");
    let parts = utility.store.job_parts(utility.app("work").await.versions[0].id).await.unwrap();
    assert_eq!((parts[0].state, parts[0].attempts), (PartState::Completed, 1));
}
