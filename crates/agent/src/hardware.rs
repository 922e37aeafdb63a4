//! What this machine has, and how much of it is offered where its owner says nothing.
//!
//! The owner comes first: one core of five or more stays hers, a quarter of the memory, half of the
//! free disk. A container's memory limit counts as the machine's memory. GPUs are found and named, and
//! not offered: no workload of this version can use one, and `kinesis supply` has no flag for them.

use std::{collections::BTreeMap, path::Path};

use kinesis_protocol::{NodeInfo, Resources};
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

const MIB: u64 = 1 << 20;
/// The most scratch disk that is offered unasked.
const DISK_MIB_MAX: u64 = 100 << 10;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hardware {
    /// All that the machine has.
    pub total: Resources,
    /// What is offered where the owner says nothing.
    pub offered: Resources,
    /// Processor, operating system, GPUs: for people and for filters.
    pub attributes: BTreeMap<String, String>,
}

/// Looks at the machine. `data_dir` is where scratch disk would come from. Blocks for some
/// milliseconds.
#[must_use]
pub fn discover(data_dir: &Path) -> Hardware {
    let system = System::new_with_specifics(
        RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram()),
    );
    // Heeds the affinity mask and the CPU quota of a container, which the list of CPUs does not.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let limit = system.cgroup_limits().map(|limits| limits.total_memory).filter(|limit| *limit > 0);
    let memory = limit.map_or(system.total_memory(), |limit| limit.min(system.total_memory()));
    let mut attributes = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        if !value.is_empty() && value.len() <= NodeInfo::ATTRIBUTE_BYTES_MAX {
            attributes.insert(key.to_owned(), value);
        }
    };
    set("cpu", system.cpus().first().map_or(String::new(), |cpu| cpu.brand().trim().to_owned()));
    set("cores", cores.to_string());
    set("arch", System::cpu_arch());
    set("os", System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned()));
    set("kernel", System::kernel_version().unwrap_or_default());
    let gpus = gpus();
    for (i, gpu) in gpus.iter().enumerate().take(8) {
        set(&format!("gpu.{i}"), format!("{}, {} MiB", gpu.name, gpu.vram_mib));
    }
    let total = Resources {
        cpu_millis: narrow(cores as u64 * 1000),
        mem_mib: narrow(memory / MIB),
        disk_mib: narrow(disk_free(data_dir) / MIB),
        gpus: narrow(gpus.len() as u64),
        vram_mib: narrow(gpus.iter().map(|gpu| gpu.vram_mib).sum()),
    };
    Hardware { total, offered: offer(&total), attributes }
}

/// What is offered of `total` where the owner says nothing.
fn offer(total: &Resources) -> Resources {
    let kept = if total.cpu_millis >= 5_000 { 1_000 } else { 0 };
    Resources {
        cpu_millis: total.cpu_millis - kept,
        mem_mib: total.mem_mib - total.mem_mib / 4,
        disk_mib: narrow(u64::from(total.disk_mib / 2).min(DISK_MIB_MAX)),
        gpus: 0,
        vram_mib: 0,
    }
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Free space of the file system that holds `dir`: the one with the longest mount point above it.
fn disk_free(dir: &Path) -> u64 {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    Disks::new_with_refreshed_list()
        .list()
        .iter()
        .filter(|disk| dir.starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map_or(0, sysinfo::Disk::available_space)
}

struct Gpu {
    name: String,
    vram_mib: u64,
}

/// The NVIDIA GPUs of the machine; none where there is no driver.
fn gpus() -> Vec<Gpu> {
    let read = || -> Result<Vec<Gpu>, nvml_wrapper::error::NvmlError> {
        let nvml = nvml_wrapper::Nvml::init()?;
        (0..nvml.device_count()?)
            .map(|i| {
                let gpu = nvml.device_by_index(i)?;
                Ok(Gpu { name: gpu.name()?, vram_mib: gpu.memory_info()?.total / MIB })
            })
            .collect()
    };
    read().unwrap_or_else(|error| {
        tracing::debug!(%error, "no NVIDIA GPU is usable");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_to_offer() {
        let found = discover(&std::env::temp_dir());
        assert!(found.total.cpu_millis >= 1000 && found.total.mem_mib > 0);
        assert!(found.total.fits(&found.offered));
        assert!(found.attributes.contains_key("arch"));
        assert!(found.attributes.values().all(|v| v.len() <= NodeInfo::ATTRIBUTE_BYTES_MAX));
    }

    #[test]
    fn the_owner_keeps_a_share() {
        let total = Resources {
            cpu_millis: 8000,
            mem_mib: 1000,
            disk_mib: 900_000,
            ..Resources::default()
        };
        let offered = offer(&total);
        assert_eq!((offered.cpu_millis, offered.mem_mib, offered.disk_mib), (7000, 750, 102_400));
        assert_eq!(offer(&Resources { cpu_millis: 2000, ..total }).cpu_millis, 2000);
        assert_eq!(offer(&Resources::default()), Resources::default());
    }
}
