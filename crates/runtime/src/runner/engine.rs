//! The engine: one configuration for compiling and for running, since compiled code only runs
//! under the settings it was compiled with.
//!
//! A component of WASI 0.3 needs an engine whose guests can wait for several things at once. One
//! of WASI 0.2 does not, and every call into it is cheaper without: so it decides which it gets.

use std::hash::{Hash, Hasher};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails, component::Component,
};

/// The most guests that are instantiated at once.
pub(super) const INSTANCES_MAX: u32 = 1_000;

/// What an engine is for. Code that was compiled for one kind is refused by the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kind {
    /// Deterministic mode: counts fuel and makes every NaN the same.
    pub(super) deterministic: bool,
    /// WASI 0.3: asynchronous calls, streams and futures. Runs WASI 0.2 too, more slowly.
    pub(super) concurrent: bool,
}

/// An engine of a kind.
pub(super) fn engine(kind: Kind) -> wasmtime::Result<Engine> {
    // Pages reserved for the pool are address space only, but a machine may limit that too.
    Engine::new(&config(kind, true)).or_else(|_| Engine::new(&config(kind, false)))
}

/// The code at `path` with the engine it was compiled for: `engine`, or a concurrent one.
///
/// # Safety
/// As [`Component::deserialize_file`]: the file must be one that an engine has written.
pub(super) unsafe fn load(
    engine: Engine,
    deterministic: bool,
    path: &str,
) -> wasmtime::Result<(Engine, Component)> {
    // SAFETY: as the caller promises.
    if let Ok(component) = unsafe { Component::deserialize_file(&engine, path) } {
        return Ok((engine, component));
    }
    drop(engine);
    let engine = self::engine(Kind { deterministic, concurrent: true })?;
    // SAFETY: as the caller promises.
    let component = unsafe { Component::deserialize_file(&engine, path) }?;
    Ok((engine, component))
}

fn config(kind: Kind, pool: bool) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // Without these a call into a guest passes no event loop.
    config.wasm_component_model_async(kind.concurrent);
    config.concurrency_support(kind.concurrent);
    config.memory_init_cow(true);
    config.async_stack_size(2 << 20);
    config.max_wasm_stack(1 << 20);
    if kind.deterministic {
        config.consume_fuel(true);
        config.cranelift_nan_canonicalization(true);
        config.relaxed_simd_deterministic(true);
    }
    if pool {
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_component_instances(INSTANCES_MAX)
            .total_core_instances(INSTANCES_MAX * 4)
            .total_memories(INSTANCES_MAX)
            .total_tables(INSTANCES_MAX * 4)
            .total_stacks(INSTANCES_MAX)
            .total_gc_heaps(INSTANCES_MAX)
            .table_elements(100_000)
            .max_tables_per_module(8)
            .max_memories_per_module(8)
            .max_unused_warm_slots(64)
            .linear_memory_keep_resident(512 << 10)
            .table_keep_resident(32 << 10)
            .async_stack_keep_resident(32 << 10)
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    }
    config
}

/// Names the code that an engine takes: other versions, processors and settings have other names.
pub(super) fn fingerprint(engine: &Engine) -> String {
    struct Blake(blake3::Hasher);
    impl Hasher for Blake {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            let hash = self.0.finalize();
            u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"))
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
