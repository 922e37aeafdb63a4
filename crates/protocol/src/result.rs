//! What a supplier signs of a deterministic job (EIP-712), as the court of results verifies it, and
//! the hashes in it. Whoever signs, checks or audits a result computes them here.
//!
//! A job is deterministic where it has a seed, no network and no GPU: its component gives the same
//! files and uses the same fuel on every machine that runs it on the same [`ENGINE`].
//!
//! - The **job** hash is EIP-712's `hashStruct` of `Job`: engine, component, arguments, environment
//!   by name, input files by path, seed and limits. How fast it may run is not in it.
//! - The **output** hash is that of `Output`: the exit code, and the files left by path.
//! - The **finding** is `keccak256(abi.encode(output, fuel))`.
//!
//! Contents are named by their BLAKE3 hash throughout. `docs/protocol/courts.md` spells the types out.

mod dossier;

use std::collections::BTreeSet;

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    sol_types::{Eip712Domain, SolStruct, SolValue, eip712_domain},
};
use serde::{Deserialize, Serialize};

pub use self::dossier::{DOSSIER_BYTES_MAX, Dossier, DossierError};
pub use self::signed::Result as JobResult;
use crate::{
    id::ContentHash,
    lease::{GuestFile, JobWorkload, LeaseSpec, OUTPUT_FILES_MAX, Workload},
    manifest::relative_path,
    money::JoulePrice,
    resources::Resources,
    root::Signature,
    sla::lease_hash,
    usage::Counters,
};

/// What runs deterministic jobs here. Two machines whose engines differ may count fuel differently,
/// so it is a part of the job: it names the version of wasmtime and that of our rules around it
/// (clocks, randomness, limits, what a guest sees).
pub const ENGINE: &str = "wasmtime 48.0.8, kinesis 1";
/// The longest name of an engine.
pub const ENGINE_BYTES_MAX: usize = 100;
/// How far the clocks of a supplier and of its utility may be apart, in seconds.
pub const CLOCK_SKEW_S: u64 = 300;
/// The most input files of a job, and the most variables and arguments.
const INPUTS_MAX: usize = 1_000;
const WORDS_MAX: usize = 1_000;
/// The longest argument, name or value of a variable.
const WORD_BYTES_MAX: usize = 64 << 10;

mod signed {
    alloy::sol! {
        /// What a supplier signs of a deterministic job.
        #[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        struct Result {
            /// Whose stake answers.
            address supplier;
            /// Who ordered it, and is compensated.
            address utility;
            /// The lease it ran under, hashed.
            bytes32 lease;
            /// The hash of what was to be run.
            bytes32 job;
            /// The hash of what came out.
            bytes32 output;
            /// What it used, exactly.
            uint64 fuel;
            /// When, in seconds since 1970.
            uint64 finishedAt;
            /// What it cost, in wei of JOULE: the most the utility is compensated with.
            uint96 price;
        }
    }
}

/// What is hashed, as EIP-712 names it.
mod hashed {
    alloy::sol! {
        struct Variable { string name; string value; }
        struct File { string path; bytes32 content; uint64 size; }
        struct Job {
            string engine;
            bytes32 component;
            uint64 componentSize;
            string[] args;
            Variable[] env;
            File[] inputs;
            uint64 seed;
            uint64 wallMsMax;
            uint32 memMib;
            uint32 diskMib;
        }
        struct Output { uint32 exitCode; File[] files; }
    }
}

/// What a utility says beforehand of the result that it wants signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditTerms {
    /// What is to run it: [`ENGINE`] of the utility. An agent with another one refuses the lease.
    pub engine: String,
    /// The chain whose court judges.
    pub chain_id: u64,
    /// The court of results there.
    pub audits: Address,
    /// What one JOULE cost when the job was asked for: its price is computed with it.
    pub joule_price: JoulePrice,
}

/// The EIP-712 domain of a court of results.
#[must_use]
pub fn domain(chain_id: u64, audits: Address) -> Eip712Domain {
    eip712_domain! {
        name: "Kinesis Audits",
        version: "1",
        chain_id: chain_id,
        verifying_contract: audits,
    }
}

/// A deterministic job: everything that decides what comes out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// What runs it: [`ENGINE`] of whoever signed.
    pub engine: String,
    /// Component, arguments, environment, inputs, seed, time limit.
    #[serde(flatten)]
    pub workload: JobWorkload,
    /// The memory it may use.
    pub mem_mib: u32,
    /// What it may leave; zero: as much as any job.
    pub disk_mib: u32,
}

impl JobSpec {
    /// The job under a lease; `None` where it is not deterministic, or no result of it is wanted.
    #[must_use]
    pub fn of(spec: &LeaseSpec) -> Option<Self> {
        let LeaseSpec { workload, granted, audit, .. } = spec;
        match (workload, audit) {
            (Workload::Job(job), Some(terms)) if is_deterministic(workload, granted) => {
                Some(Self {
                    engine: terms.engine.clone(),
                    workload: job.clone(),
                    mem_mib: granted.mem_mib,
                    disk_mib: granted.disk_mib,
                })
            }
            _ => None,
        }
    }

    /// Its hash: what `job` is in a [`JobResult`].
    #[must_use]
    pub fn hash(&self) -> B256 {
        let JobWorkload { program, args, wall_ms_max, seed } = &self.workload;
        hashed::Job {
            engine: self.engine.clone(),
            component: B256::from(program.component.0),
            componentSize: program.component_bytes,
            args: args.clone(),
            // A map goes by name.
            env: program
                .env
                .iter()
                .map(|(name, value)| hashed::Variable { name: name.clone(), value: value.clone() })
                .collect(),
            inputs: by_path(&program.files),
            seed: seed.unwrap_or(0),
            wallMsMax: *wall_ms_max,
            memMib: self.mem_mib,
            diskMib: self.disk_mib,
        }
        .eip712_hash_struct()
    }

    /// Says what about it no utility would have asked for.
    ///
    /// # Errors
    /// What it is, in words.
    pub fn validate(&self) -> Result<(), String> {
        let program = &self.workload.program;
        let word = |word: &str| word.len() <= WORD_BYTES_MAX && !word.contains('\0');
        if self.workload.seed.is_none() || !program.network.is_empty() {
            return Err("the job is not deterministic".to_owned());
        }
        if self.engine.len() > ENGINE_BYTES_MAX {
            return Err("the engine's name is too long".to_owned());
        }
        if self.workload.args.len() > WORDS_MAX || !self.workload.args.iter().all(|arg| word(arg)) {
            return Err("its arguments are too many, too long, or have a NUL".to_owned());
        }
        let variable = |(name, value): (&String, &String)| {
            !name.is_empty() && !name.contains('=') && word(name) && word(value)
        };
        if program.env.len() > WORDS_MAX || !program.env.iter().all(variable) {
            return Err("its environment is too large, or has a NUL".to_owned());
        }
        files(&program.files, INPUTS_MAX)
    }

    /// Every content it needs, with its length.
    pub fn contents(&self) -> impl Iterator<Item = (ContentHash, u64)> {
        let program = &self.workload.program;
        let files = program.files.iter().map(|file| (file.hash, file.bytes));
        std::iter::once((program.component, program.component_bytes)).chain(files)
    }
}

/// Whether a workload gives the same everywhere.
#[must_use]
pub fn is_deterministic(workload: &Workload, granted: &Resources) -> bool {
    let seeded = matches!(workload, Workload::Job(job) if job.seed.is_some());
    seeded && workload.program().network.is_empty() && granted.gpus == 0
}

fn files(files: &[GuestFile], most: usize) -> Result<(), String> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    if files.len() > most || paths.len() != files.len() {
        return Err("it has too many files, or one twice".to_owned());
    }
    if files.iter().any(|file| !relative_path(&file.path)) {
        return Err("a file of it has a path that leads elsewhere".to_owned());
    }
    Ok(())
}

fn by_path(files: &[GuestFile]) -> Vec<hashed::File> {
    let mut files: Vec<&GuestFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let file = |file: &GuestFile| hashed::File {
        path: file.path.clone(),
        content: B256::from(file.hash.0),
        size: file.bytes,
    };
    files.into_iter().map(file).collect()
}

/// The hash of what a job left that returned success.
#[must_use]
pub fn output_hash(outputs: &[GuestFile]) -> B256 {
    hashed::Output { exitCode: 0, files: by_path(outputs) }.eip712_hash_struct()
}

/// The hash of what is left of a job whose guest failed: nothing, whatever the code it ended with.
#[must_use]
pub fn failed_output_hash() -> B256 {
    hashed::Output { exitCode: 1, files: Vec::new() }.eip712_hash_struct()
}

/// What an auditor found, or a supplier signed, in one word.
#[must_use]
pub fn finding(output: B256, fuel: u64) -> B256 {
    keccak256((output, fuel).abi_encode())
}

/// What is found where a job could not be had or run.
pub const UNAVAILABLE: B256 = B256::ZERO;

/// What an auditor commits to before it says what it found.
#[must_use]
pub fn commitment(claim: u64, auditor: Address, finding: B256, salt: B256) -> B256 {
    keccak256((U256::from(claim), auditor, finding, salt).abi_encode())
}

impl JobResult {
    /// What there is to sign of a job that completed; `None` where nothing is.
    #[must_use]
    pub fn of(done: &Completed<'_>) -> Option<Self> {
        let Completed { spec, supplier, utility, outputs, fuel, counters, finished_at_s } = *done;
        let terms = spec.audit.as_ref()?;
        let job = JobSpec::of(spec)?;
        let cost = terms.joule_price.to_joule(spec.prices.cost(counters));
        Some(Self {
            supplier,
            utility,
            lease: lease_hash(spec.lease),
            job: job.hash(),
            output: output_hash(outputs),
            fuel: fuel?,
            finishedAt: finished_at_s,
            // Nine more digits than 63 bits are less than 96 bits.
            price: cost.to_wei().to(),
        })
    }

    /// The hash that is signed.
    #[must_use]
    pub fn signing_hash(&self, chain_id: u64, audits: Address) -> B256 {
        self.eip712_signing_hash(&domain(chain_id, audits))
    }

    /// What the supplier says it found.
    #[must_use]
    pub fn finding(&self) -> B256 {
        finding(self.output, self.fuel)
    }
}

/// A job that completed, as whoever ran it or ordered it knows it.
#[derive(Debug, Clone, Copy)]
pub struct Completed<'a> {
    /// What was asked.
    pub spec: &'a LeaseSpec,
    /// Who ran it.
    pub supplier: Address,
    /// Who ordered it.
    pub utility: Address,
    /// What it left.
    pub outputs: &'a [GuestFile],
    /// What it used.
    pub fuel: Option<u64>,
    /// What it is billed for.
    pub counters: &'a Counters,
    /// When it ended.
    pub finished_at_s: u64,
}

/// A result with its supplier's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedResult {
    /// What was signed.
    pub result: JobResult,
    /// The signature over [`JobResult::signing_hash`].
    pub signature: Signature,
}

/// Why a utility does not take a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// There is none.
    #[error("its supplier signed no result")]
    Missing,
    /// It has no fuel, or too many files.
    #[error("what it says it left cannot be what a deterministic job leaves")]
    Outputs,
    /// It names somebody or something else.
    #[error("the result that was signed has another {0}")]
    Other(&'static str),
    /// The job hash differs: most likely another engine.
    #[error("the result that was signed is of another job, or not of {ENGINE}")]
    Job,
    /// The time is impossible.
    #[error("the result that was signed is of another time: {0}")]
    Time(u64),
    /// The price is not what the work cost.
    #[error("the result that was signed has a price of {0} wei, which is not what it cost")]
    Price(U256),
    /// Somebody else signed.
    #[error("the result is not signed by the supplier of its node")]
    Signature,
}

impl SignedResult {
    /// Whether the supplier named in the result signed it, for this chain and court. Signatures with
    /// a high `s` are refused, as the contract refuses them.
    #[must_use]
    pub fn verify(&self, chain_id: u64, audits: Address) -> bool {
        let hash = self.result.signing_hash(chain_id, audits);
        self.signature.normalize_s().is_none()
            && self
                .signature
                .recover_address_from_prehash(&hash)
                .is_ok_and(|signer| signer == self.result.supplier)
    }

    /// Whether this is what was ordered and what was delivered, signed by who delivered it.
    ///
    /// `done` is what the utility knows, with the counters that it believes and the time by its own
    /// clock; `started_at_s` is when it asked, `reported` are the counters that came with the result.
    /// The price lies between those of both counters, which hardly ever differ.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn check(
        &self,
        done: &Completed<'_>,
        started_at_s: u64,
        reported: &Counters,
    ) -> Result<(), ResultError> {
        let terms = done.spec.audit.as_ref().ok_or(ResultError::Missing)?;
        files(done.outputs, OUTPUT_FILES_MAX).map_err(|_| ResultError::Outputs)?;
        let wanted = JobResult::of(done).ok_or(ResultError::Outputs)?;
        let result = &self.result;
        let same = [
            ("supplier", result.supplier == wanted.supplier),
            ("utility", result.utility == wanted.utility),
            ("lease", result.lease == wanted.lease),
            ("output", result.output == wanted.output),
            ("fuel", result.fuel == wanted.fuel),
        ];
        if let Some((what, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(ResultError::Other(what));
        }
        if result.job != wanted.job {
            return Err(ResultError::Job);
        }
        let earliest = started_at_s.saturating_sub(CLOCK_SKEW_S);
        let latest = done.finished_at_s.saturating_add(CLOCK_SKEW_S);
        if !(earliest..=latest).contains(&result.finishedAt) {
            return Err(ResultError::Time(result.finishedAt));
        }
        let claimed = JobResult::of(&Completed { counters: reported, ..*done });
        let (least, most) = (wanted.price, claimed.map_or(wanted.price, |claimed| claimed.price));
        if result.price < least.min(most) || result.price > least.max(most) {
            return Err(ResultError::Price(result.price.to()));
        }
        if !self.verify(terms.chain_id, terms.audits) {
            return Err(ResultError::Signature);
        }
        Ok(())
    }

    /// The 65 bytes `r ‖ s ‖ v` that the contract takes.
    #[must_use]
    pub fn signature_bytes(&self) -> [u8; 65] {
        self.signature.as_bytes()
    }
}

#[cfg(test)]
mod tests;
