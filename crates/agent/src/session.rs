//! The agent's side of one connection to a utility, and of the next one when that is lost.
//!
//! A session dials, says hello with every lease it holds, and is welcomed. Then three things run at
//! once until the link is lost: a reader that acts on each frame as it comes, a writer that sends
//! heartbeats and answers, and an acceptor that gives each stream a task. Leases belong to the
//! [`Node`] and do not notice.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kinesis_protocol::{
    JoulePrice, LeaseId, LeaseReport, LeaseState, NodeId, SlaOffer,
    message::{
        FRAME_BYTES_MAX, HEARTBEAT_MS, StreamOpen, ToAgent, ToUtility, VERSION, VERSION_MIN,
    },
    root::PaymentProof,
};
use kinesis_wire::{Endpoint, FrameReceiver, FrameSender, Link, Reconnect, UtilityAddr, WireError};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    benchmark,
    error::chain_of,
    lifeline,
    node::{Node, Peer, Said},
    pledge::Acks,
    policy::Decision,
    streams,
    wallet::Terms,
};

/// How long a utility may take to answer a hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long without a frame the link is given up. Above
/// [`SILENCE_MS`](kinesis_protocol::message::SILENCE_MS): the utility decides quickly that we are
/// lost, we lose nothing by waiting for it. Well below the time a utility that was restarted waits
/// for its agents before it places their leases elsewhere.
const GIVE_UP: Duration = Duration::from_secs(2);
/// How long a node that was rejected waits before it asks again.
const REJECTED_PAUSE: Duration = Duration::from_secs(5);
/// How much of a frame reports may fill.
const REPORT_BYTES_MAX: usize = FRAME_BYTES_MAX * 3 / 4;
/// How many answers may wait to be sent.
const ANSWERS_MAX: usize = 256;
/// How many payments may wait to be checked; the newest ones carry all that older ones said.
const PAYMENTS_MAX: usize = 16;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the wire failed")]
    Wire(#[from] WireError),
    #[error("the utility closed the control stream")]
    Closed,
    #[error("the utility said nothing for {} ms", GIVE_UP.as_millis())]
    Silent,
    #[error("the utility's process died")]
    Died,
    #[error("the utility did not answer the hello")]
    NoWelcome,
    #[error("the utility does not accept this node: {0}")]
    Rejected(String),
    #[error("what the utility said of its payments cannot be used")]
    Terms(#[from] crate::AgentError),
}

/// Serves one utility. Runs until it is dropped.
pub(crate) async fn serve(node: Arc<Node>, peer: Arc<Peer>, endpoint: Endpoint, at: UtilityAddr) {
    let (payments, waiting) = mpsc::channel(PAYMENTS_MAX);
    let _payments =
        AbortOnDropHandle::new(tokio::spawn(take_payments(node.clone(), peer.clone(), waiting)));
    let acks = Arc::new(Acks::default());
    let _acks = {
        let (acks, node) = (Arc::clone(&acks), node.clone());
        AbortOnDropHandle::new(tokio::spawn(async move { acks.store(&node).await }))
    };
    let later = Later { payments, acks };
    let addresses = at.addrs.clone();
    let mut dialling = Reconnect::new(endpoint, at);
    loop {
        let link = dialling.next().await;
        let lost = connected(&node, &peer, &link, &later, &addresses).await;
        peer.link.send_replace(None);
        link.close("the session is over");
        match lost {
            Err(Lost::Rejected(reason)) => {
                tracing::error!(utility = peer.node.short(), reason, "this node is not accepted");
                *peer.rejected.lock() = Some(reason);
                tokio::time::sleep(REJECTED_PAUSE).await;
            }
            Err(lost) => {
                let error = chain_of(&lost);
                tracing::warn!(
                    utility = peer.node.short(),
                    error,
                    "the link to the utility is lost"
                );
            }
            Ok(never) => match never {},
        }
    }
}

/// What is checked and stored beside the reading of frames.
struct Later {
    payments: mpsc::Sender<(Terms, PaymentProof, JoulePrice)>,
    acks: Arc<Acks>,
}

async fn connected(
    node: &Arc<Node>,
    peer: &Arc<Peer>,
    link: &Link,
    later: &Later,
    addresses: &[SocketAddr],
) -> Result<std::convert::Infallible, Lost> {
    let (mut send, mut recv): (FrameSender<ToUtility>, FrameReceiver<ToAgent>) =
        link.open_control().await?;
    send.send(&ToUtility::Hello {
        version: VERSION,
        version_min: VERSION_MIN,
        info: node.info.clone(),
        leases: fit(node.reports(peer.node)),
    })
    .await?;
    let welcome = tokio::time::timeout(WELCOME_TIMEOUT, welcomed(&mut recv));
    let welcome = welcome.await.map_err(|_| Lost::NoWelcome)??;
    *peer.heard.lock() = Instant::now();
    *peer.rejected.lock() = None;
    // It says so again where that still holds.
    peer.standing.lock().withheld = None;
    let (terms, price) = (welcome.terms, welcome.price);
    if let Some(expected) = peer.expects.get().filter(|who| **who != terms.payer.utility) {
        return Err(Lost::Rejected(format!(
            "{expected} was to be supplied, and {} answers there",
            terms.payer.utility
        )));
    }
    {
        let (node, peer) = (node.clone(), peer.clone());
        let remember = move || {
            node.wallet.welcome(terms, price, node.earned_before(terms.payer))?;
            node.remember_terms(&peer, terms, price)
        };
        match tokio::task::spawn_blocking(remember).await {
            Ok(remembered) => remembered?,
            Err(error) => tracing::error!(%error, "the book's writer failed"),
        }
    }
    *peer.terms.lock() = Some(terms);
    node.read_escrow.notify_one();
    let lifeline = async {
        match welcome
            .lifeline
            .as_ref()
            .and_then(|(addr, token)| lifeline::own(addr, token, addresses))
        {
            Some((addr, token)) => lifeline::hold(addr, token).await,
            None => std::future::pending().await,
        }
    };
    tracing::info!(utility = peer.node.short(), "joined the grid");
    peer.link.send_replace(Some(link.clone()));
    let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
    tokio::select! {
        lost = read(node, peer, &mut recv, &answers, later, terms) => lost,
        lost = write(node, peer, &mut send, outgoing) => lost,
        lost = accept(node, peer, link) => lost,
        // Known a second or two before the silence of the link would tell.
        () = lifeline => Err(Lost::Died),
    }
}

struct Welcome {
    terms: Terms,
    price: JoulePrice,
    lifeline: Option<(String, String)>,
}

async fn welcomed(recv: &mut FrameReceiver<ToAgent>) -> Result<Welcome, Lost> {
    loop {
        match recv.recv().await? {
            None => return Err(Lost::Closed),
            Some(ToAgent::Rejected { reason }) => return Err(Lost::Rejected(reason)),
            Some(ToAgent::Welcome {
                utility,
                series,
                chain_id,
                escrow,
                joule_price,
                lifeline,
                lifeline_token,
                ..
            }) => {
                let payer = crate::Payer { utility, series };
                return Ok(Welcome {
                    terms: Terms { payer, chain_id, escrow },
                    price: joule_price,
                    lifeline: lifeline.zip(lifeline_token),
                });
            }
            Some(_) => {}
        }
    }
}

/// Acts on each frame as it comes. Nothing here waits for the disk or for the other end.
async fn read(
    node: &Arc<Node>,
    peer: &Arc<Peer>,
    recv: &mut FrameReceiver<ToAgent>,
    answers: &mpsc::Sender<ToUtility>,
    later: &Later,
    terms: Terms,
) -> Result<std::convert::Infallible, Lost> {
    let working = Arc::new(Semaphore::new(1));
    loop {
        let frame = match tokio::time::timeout(GIVE_UP, recv.recv()).await {
            Err(_) => return Err(Lost::Silent),
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Err(Lost::Closed),
            Ok(Err(WireError::Decode(error))) => {
                tracing::warn!(%error, "a frame that cannot be read was passed over");
                continue;
            }
            Ok(Err(error)) => return Err(error.into()),
        };
        *peer.heard.lock() = Instant::now();
        match frame {
            ToAgent::Activate { lease } => node.activate(peer.node, lease),
            ToAgent::Grant { spec } => {
                let (lease, sla) = (spec.lease, spec.sla);
                let answer = match node.grant(peer.node, spec) {
                    Decision::Grant | Decision::Repeat if sla.is_some() => {
                        tokio::spawn(pledge(node.clone(), peer.node, lease, sla, answers.clone()));
                        continue;
                    }
                    Decision::Grant | Decision::Repeat => {
                        ToUtility::Granted { lease, signature: None }
                    }
                    Decision::Refuse(reason) => {
                        tracing::info!(%lease, reason, "lease refused");
                        ToUtility::Refused { lease, reason }
                    }
                };
                answers.send(answer).await.map_err(|_| Lost::Closed)?;
            }
            ToAgent::Release { lease, notice_ms } => {
                if let Some(lease) = node.lease(peer.node, lease) {
                    let notice = Duration::from_millis(notice_ms);
                    lease.stop(kinesis_protocol::Ending::Released, notice);
                }
            }
            ToAgent::Recorded { lease } => node.recorded(peer.node, lease),
            ToAgent::Payment { payment, joule_price } => {
                if later.payments.try_send((terms, payment, joule_price)).is_err() {
                    tracing::debug!("a payment was passed over; the next one carries its amount");
                }
            }
            ToAgent::Ack { lease, ack } => {
                if node.pledges.holds(lease) {
                    later.acks.push(lease, ack);
                }
            }
            ToAgent::Standing { stake_wei, withheld } => {
                let withheld: Option<String> =
                    withheld.map(|why| why.chars().filter(|c| !c.is_control()).take(400).collect());
                if let Some(why) = &withheld {
                    tracing::warn!(utility = peer.node.short(), why, "this node gets no new lease");
                }
                *peer.standing.lock() = Said { stake_wei: Some(stake_wei), withheld };
            }
            ToAgent::Challenge { nonce, work_ms } => {
                let Ok(permit) = working.clone().try_acquire_owned() else { continue };
                let answers = answers.clone();
                tokio::spawn(async move {
                    let work = move || benchmark::answer(&nonce, work_ms);
                    if let Ok(result) = tokio::task::spawn_blocking(work).await {
                        let _ = answers.send(ToUtility::Benchmark { nonce, result }).await;
                    }
                    drop(permit);
                });
            }
            ToAgent::Rejected { reason } => return Err(Lost::Rejected(reason)),
            ToAgent::Alive { .. } | ToAgent::Welcome { .. } | ToAgent::Unknown => {}
        }
    }
}

/// Sends answers as they come, and heartbeats: every [`HEARTBEAT_MS`], and at once on a change.
async fn write(
    node: &Arc<Node>,
    peer: &Arc<Peer>,
    send: &mut FrameSender<ToUtility>,
    mut outgoing: mpsc::Receiver<ToUtility>,
) -> Result<std::convert::Infallible, Lost> {
    let mut changes = node.changes.subscribe();
    let mut beat = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seq, mut said_leaving) = (0, false);
    loop {
        tokio::select! {
            biased;
            Some(answer) = outgoing.recv() => {
                send.send(&answer).await?;
                continue;
            }
            _ = changes.changed() => beat.reset(),
            _ = beat.tick() => {}
        }
        if let Some(until) = node.leaving().filter(|_| !said_leaving) {
            said_leaving = true;
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            let notice_ms = u64::try_from(left).unwrap_or(u64::MAX);
            send.send(&ToUtility::Leaving { notice_ms }).await?;
        }
        seq += 1;
        send.send(&ToUtility::Heartbeat {
            seq,
            free: node.free(),
            paused: node.refusal(peer.node),
            leases: fit(node.reports(peer.node)),
        })
        .await?;
    }
}

/// Keeps reports within one frame: endings that do not fit wait, as leases that drain.
fn fit(mut reports: Vec<LeaseReport>) -> Vec<LeaseReport> {
    let mut left = REPORT_BYTES_MAX;
    for report in &mut reports {
        let Some(ending) = &report.ending else {
            left = left.saturating_sub(600);
            continue;
        };
        let bytes = serde_json::to_vec(ending).map_or(0, |json| json.len()) + 600;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => {
                report.ending = None;
                report.state = LeaseState::Draining;
            }
        }
    }
    reports
}

/// Gives each stream a task of its own.
async fn accept(
    node: &Arc<Node>,
    peer: &Arc<Peer>,
    link: &Link,
) -> Result<std::convert::Infallible, Lost> {
    loop {
        let (open, stream) = link.accept().await?;
        match open {
            StreamOpen::Http { lease, epoch } => {
                let lease = node.lease(peer.node, lease);
                tokio::spawn(streams::http(lease, epoch, stream));
            }
            StreamOpen::Logs { lease, offset } => {
                let lease = node.lease(peer.node, lease);
                tokio::spawn(streams::logs(lease, offset, stream));
            }
            StreamOpen::Artifact { .. } | StreamOpen::Output { .. } | StreamOpen::Unknown => {
                tokio::spawn(streams::refuse(stream, "agents take no such stream"));
            }
        }
    }
}

/// Signs the terms of a lease that was granted, once they are on disk, and says so.
async fn pledge(
    node: Arc<Node>,
    utility: NodeId,
    lease: LeaseId,
    offered: Option<SlaOffer>,
    answers: mpsc::Sender<ToUtility>,
) {
    // What is signed is what was granted: a repeated grant with other terms is none.
    let held = node.lease(utility, lease).filter(|held| held.spec.sla == offered);
    let sign = {
        let node = node.clone();
        move || held.map(|held| node.pledges.sign(&held.spec))
    };
    let signature = match tokio::task::spawn_blocking(sign).await {
        Ok(Some(Ok(signature))) => signature,
        Ok(Some(Err(error))) => {
            tracing::error!(%lease, error = chain_of(&error), "the terms could not be stored");
            None
        }
        Ok(None) => None,
        Err(error) => {
            tracing::error!(%error, "signing terms failed");
            None
        }
    };
    // Without a signature the utility takes the lease back.
    let _ = answers.send(ToUtility::Granted { lease, signature }).await;
}

/// Checks and stores payments, one after another.
async fn take_payments(
    node: Arc<Node>,
    peer: Arc<Peer>,
    mut waiting: mpsc::Receiver<(Terms, PaymentProof, JoulePrice)>,
) {
    while let Some((terms, payment, price)) = waiting.recv().await {
        let checker = node.clone();
        let check = move || -> Result<_, crate::AgentError> {
            let taken = checker.wallet.receive(&terms, payment, price)?;
            if let Ok(crate::wallet::Accepted { lifted: Some(sum), .. }) = &taken {
                checker.book.meter(&[], &[(terms.payer, *sum)])?;
            }
            Ok(taken)
        };
        let utility = peer.node.short();
        match tokio::task::spawn_blocking(check).await {
            Ok(Ok(Ok(accepted))) => {
                if accepted.read_escrow {
                    node.read_escrow.notify_one();
                }
                if let Some(alert) = accepted.alert {
                    tracing::warn!(utility, %alert, "a payment is too small");
                }
            }
            Ok(Ok(Err(refused))) => tracing::error!(utility, %refused, "a payment was refused"),
            Ok(Err(error)) => {
                tracing::error!(utility, error = chain_of(&error), "a payment was not stored");
            }
            Err(error) => tracing::error!(%error, "checking a payment failed"),
        }
    }
}
