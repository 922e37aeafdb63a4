//! The life of one lease, from its artifacts to its ending.

use std::{path::PathBuf, sync::Arc, time::Duration};

use kinesis_protocol::{
    ContentHash, Ending, LeaseState,
    lease::{GuestFile, OUTPUT_BYTES_MAX},
    message::StreamOpen,
};
use kinesis_runtime::{Exit, Output, StartSpec};
use kinesis_wire::{Link, WireError};
use tokio::io::AsyncWriteExt as _;

use super::Lease;
use crate::{
    artifacts::{Pinned, hash_file},
    book::Named,
    engine::Guest,
    error::chain_of,
    node::Node,
};

/// How long a service that a newer epoch has replaced may finish what is in flight.
pub(crate) const FENCE_NOTICE: Duration = Duration::from_secs(5);
/// How long a sandbox may take to die once it is killed.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Between two attempts to send an output.
const UPLOAD_PAUSE: Duration = Duration::from_millis(200);

/// Runs `lease` to its end and writes the end into the book, where it takes the place of `forgotten`.
pub(crate) async fn drive(node: Arc<Node>, lease: Arc<Lease>, forgotten: Option<Named>) {
    let granted = lease.record(None);
    let book = node.book.clone();
    // The start does not wait for the disk; the ending, written below, comes after it in any case.
    let write = tokio::task::spawn_blocking(move || book.grant(&granted, forgotten));
    let ending = run(&node, &lease).await;
    match write.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(error = chain_of(&error), "a lease could not be written to the book");
        }
        Err(error) => tracing::error!(%error, "the book's writer failed"),
    }
    tracing::info!(lease = %lease.spec.lease, app = lease.spec.app_name, %ending, "lease ended");
    let (ending, meter) = node.settle(&lease, ending).await;
    lease.ended(ending, meter);
}

/// Artifacts stay in the cache as long as this lives.
struct Started {
    guest: Arc<dyn Guest>,
    _artifacts: Vec<Pinned>,
}

async fn run(node: &Arc<Node>, lease: &Arc<Lease>) -> Ending {
    let started = tokio::select! {
        biased;
        stop = lease.stopped() => Err(stop.ending),
        started = start(node, lease) => started,
    };
    let started = match started {
        Ok(started) => started,
        Err(ending) => {
            if let Some(guest) = lease.guest() {
                kill(guest.as_ref()).await;
            }
            return ending;
        }
    };
    let guest = started.guest.as_ref();
    match lease.started() {
        Ok(true) => node.fence_older(lease),
        Ok(false) => {}
        Err(reason) => {
            kill(guest).await;
            return Ending::NodeFailed { reason: format!("it could not be thawed: {reason}") };
        }
    }
    let stop = tokio::select! {
        biased;
        exit = guest.ended() => return ending_of(node, lease, exit).await,
        stop = lease.stopped() => stop,
    };
    let was = lease.state();
    lease.draining();
    // A frozen standby has nothing in flight and would not hear that it is to drain.
    if was != LeaseState::Warm {
        if !lease.is_job() {
            guest.drain();
        }
        let finished = tokio::select! {
            biased;
            exit = guest.ended() => Some(exit),
            () = lease.out_of_time() => None,
        };
        if let Some(exit) = finished {
            return match exit {
                // A job that made it in time is worth more than its release.
                Exit::Completed { .. } if lease.is_job() => ending_of(node, lease, exit).await,
                _ => stop.ending,
            };
        }
    }
    kill(guest).await;
    stop.ending
}

async fn start(node: &Arc<Node>, lease: &Arc<Lease>) -> Result<Started, Ending> {
    let failed = |reason| Ending::NodeFailed { reason };
    let program = lease.spec.workload.program();
    let peer = node.peer(lease.utility).ok_or_else(|| failed("no such utility".into()))?;
    let links = || peer.link.subscribe();
    let get = |hash, bytes| node.artifacts.get(links(), hash, bytes);
    let component = get(program.component, program.component_bytes);
    let files = futures_util::future::try_join_all(
        program.files.iter().map(|file| get(file.hash, file.bytes)),
    );
    let (component, files) = tokio::try_join!(component, files).map_err(failed)?;
    let spec = StartSpec {
        lease: lease.spec.lease,
        workload: lease.spec.workload.clone(),
        granted: lease.spec.granted,
        component: component.path(),
        files: program
            .files
            .iter()
            .zip(&files)
            .map(|(file, pinned)| (file.path.clone(), pinned.path()))
            .collect(),
        standby: lease.spec.standby,
    };
    let guest = node.engine.start(spec).await.map_err(|error| error.into_ending())?;
    lease.spawned(guest.clone());
    // A guest that cannot even begin is its author's affair.
    guest.ready().await.map_err(|reason| Ending::Failed { reason })?;
    let mut artifacts = files;
    artifacts.push(component);
    Ok(Started { guest, _artifacts: artifacts })
}

async fn kill(guest: &dyn Guest) {
    guest.kill();
    if tokio::time::timeout(KILL_WAIT, guest.ended()).await.is_err() {
        tracing::error!("a sandbox that was killed does not die");
    }
}

/// What an end that nobody asked for means.
async fn ending_of(node: &Arc<Node>, lease: &Arc<Lease>, exit: Exit) -> Ending {
    match exit {
        Exit::Failed { reason } => Ending::Failed { reason },
        Exit::Broken { reason } => Ending::NodeFailed { reason },
        Exit::Stopped => Ending::NodeFailed { reason: "its sandbox was stopped".into() },
        Exit::Completed { outputs, fuel } => {
            let bytes = outputs.iter().fold(0_u64, |sum, output| sum.saturating_add(output.bytes));
            if bytes > OUTPUT_BYTES_MAX {
                let reason =
                    format!("its outputs hold {bytes} bytes, the most is {OUTPUT_BYTES_MAX}");
                return Ending::Failed { reason };
            }
            let uploaded = tokio::select! {
                uploaded = upload_all(node, lease, outputs) => uploaded,
                ending = abandoned(lease) => return ending,
            };
            match uploaded {
                // It is signed with the last counters, when it is written down.
                Ok(outputs) => Ending::Completed { outputs, fuel, signed: None },
                Err(reason) => Ending::NodeFailed { reason },
            }
        }
    }
}

/// Waits until a finished job is stopped for good.
async fn abandoned(lease: &Lease) -> Ending {
    let stop = lease.stopped().await;
    lease.out_of_time().await;
    stop.ending
}

/// Sends every output to the utility, before anybody hears that the job is done.
async fn upload_all(
    node: &Arc<Node>,
    lease: &Arc<Lease>,
    outputs: Vec<Output>,
) -> Result<Vec<GuestFile>, String> {
    let mut sent = Vec::with_capacity(outputs.len());
    for output in outputs {
        let hash = hash_file(output.file.clone(), output.bytes).await?;
        upload(node, lease, hash, &output.file, output.bytes).await?;
        sent.push(GuestFile { path: output.path, hash, bytes: output.bytes });
    }
    Ok(sent)
}

/// Sends one output; again over the next link where a link is lost.
async fn upload(
    node: &Arc<Node>,
    lease: &Arc<Lease>,
    hash: ContentHash,
    file: &PathBuf,
    bytes: u64,
) -> Result<(), String> {
    let peer = node.peer(lease.utility).ok_or("no such utility")?;
    let mut links = peer.link.subscribe();
    loop {
        let link = match links.wait_for(Option::is_some).await.map(|link| link.clone()) {
            Ok(Some(link)) => link,
            _ => return Err("the agent is stopping".into()),
        };
        match send(&link, lease, hash, file, bytes).await {
            Ok(()) => return Ok(()),
            Err(WireError::Refused { reason }) => {
                return Err(format!("the utility refused an output: {reason}"));
            }
            Err(error) => {
                tracing::warn!(
                    error = chain_of(&error),
                    "an output could not be sent; trying again"
                );
                tokio::time::sleep(UPLOAD_PAUSE).await;
            }
        }
    }
}

async fn send(
    link: &Link,
    lease: &Lease,
    hash: ContentHash,
    file: &PathBuf,
    bytes: u64,
) -> Result<(), WireError> {
    let open = StreamOpen::Output { lease: lease.spec.lease, hash, bytes };
    let mut file = tokio::fs::File::open(file).await?;
    let mut stream = link.open(&open).await?;
    tokio::io::copy(&mut file, &mut stream).await?;
    stream.shutdown().await?;
    stream.read_answer().await?;
    Ok(())
}
