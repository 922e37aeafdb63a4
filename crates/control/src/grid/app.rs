//! What is wanted: apps, their versions, and the parts of jobs.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use kinesis_protocol::{
    AccountId, Address, AppId, LeaseId, Manifest, NodeId, Replica, VersionId,
    lease::{GuestFile, JobWorkload, Program, ServiceWorkload, Workload},
    manifest::{Kind, Service},
};

use crate::{
    api::{AppState, ArtifactRef},
    autoscale::Scale,
    scheduler::Request,
};

/// What is wanted: one version of an app.
#[derive(Debug, Clone)]
pub struct AppSpec {
    /// The app.
    pub id: AppId,
    /// Whose it is.
    pub account: AccountId,
    /// The version.
    pub version: VersionId,
    /// The version's number.
    pub version_number: u32,
    /// What its author wrote.
    pub manifest: Arc<Manifest>,
    /// Path in the manifest -> content.
    pub artifacts: Arc<BTreeMap<String, ArtifactRef>>,
}

impl AppSpec {
    /// The service's part of the manifest.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        match &self.manifest.kind {
            Kind::Service(service) => Some(service),
            Kind::Job(_) => None,
        }
    }

    /// What one replica, or part, runs. `None` where an artifact is missing.
    #[must_use]
    pub fn workload(&self, replica: Replica) -> Option<Workload> {
        let manifest = &self.manifest;
        let component = self.artifacts.get(&manifest.component)?;
        let files = manifest
            .files
            .iter()
            .map(|(guest, path)| {
                let artifact = self.artifacts.get(path)?;
                Some(GuestFile { path: guest.clone(), hash: artifact.hash, bytes: artifact.bytes })
            })
            .collect::<Option<Vec<_>>>()?;
        let mut program = Program {
            component: component.hash,
            component_bytes: component.bytes,
            env: manifest.env.clone(),
            files,
            network: manifest.network.clone(),
        };
        Some(match &manifest.kind {
            Kind::Service(service) => Workload::Service(ServiceWorkload {
                program,
                instance: service.instance,
                concurrency: service.concurrency,
                request_ms_max: service.request_ms_max,
            }),
            Kind::Job(job) => {
                program.env.insert("KINESIS_PART".into(), replica.to_string());
                program.env.insert("KINESIS_PARTS".into(), job.parts.len().to_string());
                let part = job.parts.get(usize::try_from(replica.0).ok()?)?;
                Workload::Job(JobWorkload {
                    program,
                    args: part.args.clone(),
                    wall_ms_max: job.wall_ms_max,
                    seed: job.seed,
                })
            }
        })
    }

    /// What the scheduler is asked for one replica, or part.
    #[must_use]
    pub fn request(&self, replica: Replica, markup_bp: u32) -> Request {
        let preferences = &self.manifest.preferences;
        let part_tier = match &self.manifest.kind {
            Kind::Job(job) => usize::try_from(replica.0)
                .ok()
                .and_then(|part| job.parts.get(part))
                .and_then(|part| part.tier),
            Kind::Service(_) => None,
        };
        Request {
            wanted: self.manifest.resources,
            tier: part_tier.or(preferences.tier),
            region: preferences.region.clone(),
            optimise: preferences.optimise,
            max_per_hour: preferences.max_per_hour,
            markup_bp,
            traffic: self.service().is_some(),
            ..Request::default()
        }
    }
}

/// Where a part of a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartPhase {
    /// Waits for a node, and for its time.
    Queued {
        /// Not before.
        not_before_ms: u64,
    },
    /// Runs under this lease.
    Running(LeaseId),
    /// Over, well.
    Completed,
    /// Over, badly.
    Failed,
}

/// A part of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSlot {
    /// Where it stands.
    pub phase: PartPhase,
    /// Another attempt beside the one that runs, which was slow to start: the first that works
    /// goes on.
    pub beside: Option<LeaseId>,
    /// Whether one of two such attempts failed after its node had taken it: the other stays alone.
    pub failed_beside: bool,
    /// Attempts that count towards its retries.
    pub attempts: u32,
    /// Suppliers it failed on, and their nodes, newest last.
    pub failed_on: VecDeque<(NodeId, Address)>,
    /// Why it failed last.
    pub reason: Option<String>,
}

impl PartSlot {
    /// A part that was never tried.
    #[must_use]
    pub fn queued() -> Self {
        Self {
            phase: PartPhase::Queued { not_before_ms: 0 },
            beside: None,
            failed_beside: false,
            attempts: 0,
            failed_on: VecDeque::new(),
            reason: None,
        }
    }
}

/// Why an app is not wanted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its owner stopped it.
    Owner,
    /// Its owner deleted it.
    Deleted,
    /// Its money is used up.
    Budget,
    /// It is a job, and over.
    Over,
}

/// An app.
#[derive(Debug, Clone)]
pub struct App {
    /// What is wanted.
    pub spec: AppSpec,
    /// Why nothing is.
    pub stop: Option<Stop>,
    /// How many replicas a service wants.
    pub scale: Option<Scale>,
    /// A job's parts.
    pub parts: Vec<PartSlot>,
    /// Nodes that refused a moment ago: until when, and why.
    pub refused: BTreeMap<NodeId, (u64, String)>,
    /// Nodes it failed on lately: until when they are avoided.
    pub avoid: BTreeMap<NodeId, u64>,
    /// Failures in a row, and when the next try is due.
    pub failures: u32,
    /// Starts in a row that took too long.
    pub late: u32,
    /// No new lease before this time.
    pub not_before_ms: u64,
    /// Why something of it is missing.
    pub reason: Option<String>,
    /// The state that was told last.
    pub told: AppState,
    /// Whether something is missing that time or a new node may bring.
    pub unsatisfied: bool,
    /// Whether something is on its way, and may turn out to be slow.
    pub starting: bool,
}
