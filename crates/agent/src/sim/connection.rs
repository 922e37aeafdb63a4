//! The connection of a simulated agent: hello, heartbeats, frames and streams, until it is dropped.

use std::{sync::Arc, time::Duration};

use kinesis_chain::Key;
use kinesis_protocol::{
    ContentHash, Ending, LeaseId,
    benchmark::Answer,
    lease::GuestFile,
    message::{StreamOpen, ToAgent, ToUtility, VERSION, VERSION_MIN},
};
use kinesis_wire::{Endpoint, FrameReceiver, FrameSender, Link, Reconnect, WireError};
use tokio::{io::AsyncWriteExt as _, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::{JobScript, Shared, http};
use crate::{benchmark, lifeline, policy::Decision};

/// Dials and serves, again and again.
pub(super) async fn run(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut dialling = Reconnect::new(endpoint, shared.utility.clone());
    loop {
        let link = dialling.next().await;
        if let Err(error) = serve(&link, &shared).await {
            tracing::debug!(%error, node = shared.info.name, "a simulated agent lost its link");
        }
        link.close("reconnecting");
    }
}

type Sender = FrameSender<ToUtility>;

async fn serve(link: &Link, shared: &Arc<Shared>) -> Result<(), WireError> {
    let (mut send, mut recv): (Sender, FrameReceiver<ToAgent>) = link.open_control().await?;
    send.send(&ToUtility::Hello {
        version: VERSION,
        version_min: VERSION_MIN,
        info: shared.info.clone(),
        leases: shared.leases.reports(),
    })
    .await?;
    let mut tasks = JoinSet::new();
    let mut silent = shared.silent.subscribe();
    let mut changes = shared.leases.changes();
    let every = shared.behaviour.lock().heartbeat;
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seq, mut welcomed, mut said_leaving) = (0, false, false);
    let (answers, mut answered) = tokio::sync::mpsc::channel(4);
    loop {
        // The sender lives in `shared`.
        let _ = silent.wait_for(|silent| !*silent).await;
        tokio::select! {
            _ = silent.changed() => {}
            () = shared.drop_link.notified() => return Ok(()),
            frame = recv.recv() => match frame? {
                None => return Ok(()),
                Some(ToAgent::Welcome { lifeline, lifeline_token, .. }) => {
                    welcomed = true;
                    let at = lifeline.and_then(|addr| addr.parse().ok());
                    let held = at.zip(lifeline_token).map(|(addr, token)| {
                        AbortOnDropHandle::new(tokio::spawn(async move {
                            lifeline::hold(addr, &token).await;
                        }))
                    });
                    *shared.lifeline.lock() = held;
                    shared.welcomes.send_modify(|n| *n += 1);
                    beat.reset_immediately();
                }
                Some(ToAgent::Rejected { reason }) => {
                    *shared.rejected.lock() = Some(reason);
                    return Ok(());
                }
                Some(ToAgent::Challenge { nonce, work_ms }) => {
                    let answers = answers.clone();
                    let invents = shared.behaviour.lock().invents_benchmark;
                    tasks.spawn(async move {
                        let work = move || match invents {
                            true => invented(),
                            false => benchmark::answer(&nonce, work_ms),
                        };
                        if let Ok(result) = tokio::task::spawn_blocking(work).await {
                            let _ = answers.send(ToUtility::Benchmark { nonce, result }).await;
                        }
                    });
                }
                Some(frame) => handle(frame, link, shared, &mut send).await?,
            },
            accepted = link.accept() => match accepted? {
                (StreamOpen::Http { lease, epoch }, stream) => {
                    tasks.spawn(http::serve(shared.clone(), lease, epoch, stream));
                }
                (StreamOpen::Logs { lease, .. }, mut stream) => {
                    tasks.spawn(async move {
                        let ready = kinesis_protocol::message::StreamAnswer::Ready { bytes: None };
                        let _ = stream.answer(ready).await;
                        let _ = stream.write_all(format!("log of {lease}\n").as_bytes()).await;
                        let _ = stream.shutdown().await;
                    });
                }
                _ => {}
            },
            Some(answer) = answered.recv() => send.send(&answer).await?,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            _ = changes.changed(), if welcomed => beat.reset_immediately(),
            _ = beat.tick(), if welcomed => {
                let leaving = *shared.leaving.lock();
                if let Some(notice) = leaving.filter(|_| !said_leaving) {
                    said_leaving = true;
                    let notice_ms = u64::try_from(notice.as_millis()).unwrap_or(u64::MAX);
                    send.send(&ToUtility::Leaving { notice_ms }).await?;
                }
                seq += 1;
                let paused = shared.behaviour.lock().paused.clone();
                send.send(&ToUtility::Heartbeat {
                    seq,
                    free: shared.leases.free(),
                    paused: paused.or_else(|| leaving.map(|_| "leaving".to_owned())),
                    leases: shared.leases.reports(),
                })
                .await?;
            }
        }
    }
}

/// A fast machine's answer, from one that did nothing.
fn invented() -> Answer {
    let checkpoints = (0..200_u8).map(|n| ContentHash([n; 32])).collect();
    Answer { checkpoints, elapsed_ms: 1 }
}

async fn handle(
    frame: ToAgent,
    link: &Link,
    shared: &Arc<Shared>,
    send: &mut Sender,
) -> Result<(), WireError> {
    match frame {
        ToAgent::Grant { spec } => {
            let refuses = shared.behaviour.lock().refuses.clone();
            let lease = spec.lease;
            let sign = |key: &Key| spec.sla.map(|offer| key.sign_hash(&offer.digest()));
            let signature = shared.key.as_ref().and_then(sign);
            let answer = match shared.leases.grant(&spec, refuses) {
                Decision::Refuse(reason) => ToUtility::Refused { lease, reason },
                Decision::Repeat => ToUtility::Granted { lease, signature },
                Decision::Grant => {
                    // Not a task of the link: leases outlive it.
                    tokio::spawn(start(shared.clone(), link.clone(), lease));
                    ToUtility::Granted { lease, signature }
                }
            };
            send.send(&answer).await?;
        }
        ToAgent::Activate { lease } => shared.leases.activate(lease),
        ToAgent::Release { lease, .. } => shared.leases.end(lease, Ending::Released),
        ToAgent::Recorded { lease } => shared.leases.recorded(lease),
        ToAgent::Ack { lease, ack } => {
            shared.acks.send_modify(|acks| {
                acks.insert(lease, ack);
            });
        }
        ToAgent::Standing { stake_wei, withheld } => {
            shared.standing.send_replace(Some((stake_wei, withheld)));
        }
        ToAgent::Payment { payment, .. } => {
            *shared.payments.lock() = Some(payment);
            shared.payments_seen.send_modify(|n| *n += 1);
        }
        _ => {}
    }
    Ok(())
}

/// Starts a lease, and plays a job to its end.
async fn start(shared: Arc<Shared>, link: Link, lease: LeaseId) {
    let wait = shared.behaviour.lock().starts_in;
    tokio::time::sleep(wait).await;
    if !shared.leases.ready(lease) {
        return;
    }
    let script = shared.behaviour.lock().job.clone();
    match script {
        JobScript::Runs => {}
        JobScript::Fails { after, reason } => {
            tokio::time::sleep(after).await;
            shared.leases.end(lease, Ending::Failed { reason });
        }
        JobScript::Completes { after, outputs } => {
            tokio::time::sleep(after).await;
            let mut files = Vec::new();
            for (path, content) in outputs {
                let hash = ContentHash::of(&content);
                let bytes = content.len() as u64;
                let sent = upload(&link, lease, hash, &content);
                if !matches!(tokio::time::timeout(Duration::from_secs(10), sent).await, Ok(Ok(())))
                {
                    let reason = "an output could not be sent".to_owned();
                    return shared.leases.end(lease, Ending::NodeFailed { reason });
                }
                files.push(GuestFile { path, hash, bytes });
            }
            shared
                .leases
                .end(lease, Ending::Completed { outputs: files, fuel: None, signed: None });
        }
    }
}

async fn upload(
    link: &Link,
    lease: LeaseId,
    hash: ContentHash,
    content: &[u8],
) -> Result<(), WireError> {
    let bytes = content.len() as u64;
    let mut stream = link.open(&StreamOpen::Output { lease, hash, bytes }).await?;
    stream.write_all(content).await?;
    stream.shutdown().await?;
    stream.read_answer().await?;
    Ok(())
}
