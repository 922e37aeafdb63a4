//! What a guest is given: its store, its limits, and the few imports it may use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use wasmtime::{
    Engine, ResourceLimiter, Store,
    component::{Linker, ResourceTable},
};
use wasmtime_wasi::{
    Deterministic, FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder,
    WasiCtxView, WasiView,
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{log::Log, network::Hooks};

/// The most elements of all tables of a guest.
const TABLE_ELEMENTS_MAX: usize = 1_000_000;
/// Random bytes of a deterministic guest before they repeat.
const RANDOM_BYTES: usize = 1 << 20;

/// The data of a guest's store.
pub(super) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: Hooks,
    limits: Limits,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Memory that all guests of a lease share.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    pub(super) fn new(mem_mib: u32) -> Arc<Self> {
        let most = usize::try_from(u64::from(mem_mib) << 20).unwrap_or(usize::MAX);
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    fn take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.most)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One guest's share of the budget.
#[derive(Debug)]
struct Limits {
    budget: Arc<Budget>,
    bytes: usize,
    elements: usize,
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let granted = self.budget.take(more);
        if granted {
            self.bytes += more;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        let granted = elements <= TABLE_ELEMENTS_MAX;
        if granted {
            self.elements = elements;
        }
        Ok(granted)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// How to make a guest's store.
pub(super) struct Setup {
    pub(super) engine: Engine,
    pub(super) env: Vec<(String, String)>,
    pub(super) args: Vec<String>,
    /// Whether there is anything to show at `/data`.
    pub(super) data: bool,
    /// Whether it may write to `/out`.
    pub(super) out: bool,
    pub(super) log: Log,
    pub(super) hooks: Hooks,
    pub(super) budget: Arc<Budget>,
    /// Fixed clocks and randomness, and fuel.
    pub(super) seed: Option<u64>,
}

impl Setup {
    /// Whether the guest may be of WASI 0.3.
    pub(super) fn concurrent(&self) -> bool {
        self.engine.get_concurrency_support()
    }

    /// A linker with everything that a guest may import. One of WASI 0.3 may import WASI 0.2 beside
    /// it, as the standard libraries of most languages do.
    pub(super) fn linker(&self) -> wasmtime::Result<Linker<Guest>> {
        let mut linker = Linker::new(&self.engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        if self.concurrent() {
            wasmtime_wasi::p3::add_to_linker(&mut linker)?;
            wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        }
        Ok(linker)
    }

    /// A new store. The directories are opened relative to the lease's own.
    pub(super) fn store(&self) -> wasmtime::Result<Store<Guest>> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&self.env)
            .args(&self.args)
            .stdout(self.log.clone())
            .stderr(self.log.clone())
            .allow_blocking_current_thread(true)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if self.data {
            wasi.preopened_dir("data", "/data", FsPerms::ReadOnly)?;
        }
        if self.out {
            wasi.preopened_dir("out", "/out", FsPerms::ReadWrite)?;
        }
        if let Some(seed) = self.seed {
            let random = |what: &str| {
                let mut bytes = vec![0; RANDOM_BYTES];
                let mut hasher = blake3::Hasher::new_derive_key("kinesis guest randomness");
                hasher.update(&seed.to_le_bytes()).update(what.as_bytes());
                hasher.finalize_xof().fill(&mut bytes);
                Deterministic::new(bytes)
            };
            let clock = FixedClock::default();
            wasi.secure_random(random("secure"))
                .insecure_random(random("insecure"))
                .insecure_random_seed(u128::from(seed))
                .wall_clock(clock.clone())
                .monotonic_clock(clock);
        }
        let guest = Guest {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: self.hooks.clone(),
            limits: Limits { budget: Arc::clone(&self.budget), bytes: 0, elements: 0 },
        };
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limits);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        if self.seed.is_some() {
            store.set_fuel(u64::MAX)?;
        }
        Ok(store)
    }
}

/// A clock that tells how often it was asked: the same for every run.
#[derive(Debug, Clone, Default)]
struct FixedClock(Arc<AtomicU64>);

impl FixedClock {
    fn ask(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }
}

impl HostWallClock for FixedClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.ask())
    }
}

impl HostMonotonicClock for FixedClock {
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        self.ask()
    }
}

/// What went wrong in a guest, in one line for its author.
pub(super) fn reason(error: &wasmtime::Error) -> String {
    if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
        return format!("the guest trapped: {trap}");
    }
    let text = error.root_cause().to_string();
    crate::talk::cut(text.lines().next().unwrap_or("the guest failed"), 300)
}
