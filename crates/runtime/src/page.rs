//! The meter page: a small file that the sandbox writes and the agent reads, both through memory.
//!
//! It outlives both processes, so that work done before a crash is neither lost nor counted twice.
//! Writers bracket a change with the sequence number (odd while changing); readers repeat until
//! they see an even number twice. The one-word counters need no bracket.
//!
//! Time is `CLOCK_MONOTONIC`, CPU time is that of the whole sandbox process.

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use kinesis_protocol::{Counters, EnergySource, Resources};
use memmap2::{MmapOptions, MmapRaw};

/// The length of the file.
pub(crate) const PAGE_BYTES: u64 = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"KINMETR1");

#[repr(C)]
#[derive(Debug)]
struct Layout {
    magic: AtomicU64,
    sequence: AtomicU64,
    /// Working time of all windows that are over.
    busy_ns: AtomicU64,
    /// When the open window began; 0 where nothing is in flight.
    since_ns: AtomicU64,
    /// CPU time of all windows that are over.
    cpu_ns: AtomicU64,
    /// The process's CPU time when the open window began.
    cpu_since_ns: AtomicU64,
    /// When the open window was last seen alive, and the process's CPU time then.
    tick_ns: AtomicU64,
    tick_cpu_ns: AtomicU64,
    requests: AtomicU64,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    in_flight: AtomicU64,
    /// One more than the measured energy in microjoules; 0 where none is measured. The one field
    /// that the reader writes, so that it is not lost when the reader dies.
    energy: AtomicU64,
}

/// A mapped meter page.
#[derive(Debug)]
pub(crate) struct Page(MmapRaw);

/// What a page said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    pub(crate) busy_ns: u64,
    pub(crate) since_ns: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) cpu_since_ns: u64,
    pub(crate) tick_ns: u64,
    pub(crate) tick_cpu_ns: u64,
    pub(crate) requests: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) in_flight: u64,
    /// `None` where energy is not measured.
    pub(crate) energy_uj: Option<u64>,
}

/// Where the clocks of a living sandbox stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) monotonic_ns: u64,
    pub(crate) cpu_ns: u64,
}

impl Page {
    /// Maps `file`, which must be [`PAGE_BYTES`] long.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() < PAGE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the meter page is too short"));
        }
        let map = MmapOptions::new().len(4096).map_raw(file)?;
        Ok(Self(map))
    }

    /// Marks a page of zeros as a meter page.
    pub(crate) fn init(&self) {
        self.layout().magic.store(MAGIC, Ordering::Release);
    }

    fn layout(&self) -> &Layout {
        const { assert!(size_of::<Layout>() <= 4096 && align_of::<Layout>() <= 4096) };
        // SAFETY: the map is page-aligned, at least as long as `Layout`, lives as long as `self`,
        // and every field is an atomic, so that writes from the other process are no data race.
        unsafe { &*self.0.as_ptr().cast::<Layout>() }
    }

    fn change(&self, change: impl FnOnce(&Layout)) {
        let layout = self.layout();
        let sequence = layout.sequence.load(Ordering::Relaxed);
        layout.sequence.store(sequence | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change(layout);
        layout.sequence.store((sequence | 1).wrapping_add(1), Ordering::Release);
    }

    /// Opens a window. Only one thread at a time may change windows.
    pub(crate) fn open_window(&self, now: Now) {
        self.change(|l| {
            l.tick_ns.store(now.monotonic_ns, Ordering::Relaxed);
            l.tick_cpu_ns.store(now.cpu_ns, Ordering::Relaxed);
            l.cpu_since_ns.store(now.cpu_ns, Ordering::Relaxed);
            l.since_ns.store(now.monotonic_ns.max(1), Ordering::Relaxed);
        });
    }

    /// Closes the window and adds it up.
    pub(crate) fn close_window(&self, now: Now) {
        self.change(|l| {
            let since = l.since_ns.swap(0, Ordering::Relaxed);
            let cpu_since = l.cpu_since_ns.load(Ordering::Relaxed);
            add(&l.busy_ns, now.monotonic_ns.saturating_sub(since));
            add(&l.cpu_ns, now.cpu_ns.saturating_sub(cpu_since));
        });
    }

    /// Says that the open window still lasts.
    pub(crate) fn tick(&self, now: Now) {
        self.change(|l| {
            l.tick_ns.store(now.monotonic_ns, Ordering::Relaxed);
            l.tick_cpu_ns.store(now.cpu_ns, Ordering::Relaxed);
        });
    }

    pub(crate) fn set_in_flight(&self, in_flight: u32) {
        self.layout().in_flight.store(u64::from(in_flight), Ordering::Relaxed);
    }

    pub(crate) fn add_request(&self) {
        self.layout().requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_rx(&self, bytes: u64) {
        self.layout().rx_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_tx(&self, bytes: u64) {
        self.layout().tx_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_energy(&self, uj: u64) {
        self.layout().energy.store(uj.saturating_add(1), Ordering::Relaxed);
    }

    /// Reads the page; `None` where it never was one.
    pub(crate) fn sample(&self) -> Option<Sample> {
        let l = self.layout();
        if l.magic.load(Ordering::Acquire) != MAGIC {
            return None;
        }
        let mut sample = Sample::default();
        // A writer that died inside a change leaves an odd number for good.
        for _ in 0..1_000 {
            let before = l.sequence.load(Ordering::Acquire);
            sample = Sample {
                busy_ns: l.busy_ns.load(Ordering::Relaxed),
                since_ns: l.since_ns.load(Ordering::Relaxed),
                cpu_ns: l.cpu_ns.load(Ordering::Relaxed),
                cpu_since_ns: l.cpu_since_ns.load(Ordering::Relaxed),
                tick_ns: l.tick_ns.load(Ordering::Relaxed),
                tick_cpu_ns: l.tick_cpu_ns.load(Ordering::Relaxed),
                requests: l.requests.load(Ordering::Relaxed),
                rx_bytes: l.rx_bytes.load(Ordering::Relaxed),
                tx_bytes: l.tx_bytes.load(Ordering::Relaxed),
                in_flight: l.in_flight.load(Ordering::Relaxed),
                energy_uj: l.energy.load(Ordering::Relaxed).checked_sub(1),
            };
            fence(Ordering::Acquire);
            if before & 1 == 0 && l.sequence.load(Ordering::Relaxed) == before {
                break;
            }
            std::hint::spin_loop();
        }
        Some(sample)
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
}

impl Sample {
    /// Working time and CPU time, in nanoseconds. With `now`, the open window lasts until now;
    /// without, the sandbox is dead and its window ended when it was last seen alive.
    pub(crate) fn worked_ns(&self, now: Option<Now>) -> (u64, u64) {
        let (mut wall_ns, mut cpu_ns) = (self.busy_ns, self.cpu_ns);
        if self.since_ns != 0 {
            let end = now.unwrap_or(Now { monotonic_ns: self.tick_ns, cpu_ns: self.tick_cpu_ns });
            wall_ns = wall_ns.saturating_add(end.monotonic_ns.saturating_sub(self.since_ns));
            cpu_ns = cpu_ns.saturating_add(end.cpu_ns.saturating_sub(self.cpu_since_ns));
        }
        (wall_ns, cpu_ns)
    }

    /// What was used until `now`, which is that of [`Self::worked_ns`].
    pub(crate) fn counters(
        &self,
        now: Option<Now>,
        granted: &Resources,
        mj_per_cpu_ms: u64,
    ) -> Counters {
        let (wall_ns, cpu_ns) = self.worked_ns(now);
        let (wall_ms, cpu_ms) = (wall_ns / 1_000_000, cpu_ns / 1_000_000);
        let (energy_mj, energy_source) = match self.energy_uj {
            Some(uj) => (uj / 1_000, EnergySource::Measured),
            None => (cpu_ms.saturating_mul(mj_per_cpu_ms), EnergySource::Estimated),
        };
        Counters {
            wall_ms,
            cpu_ms,
            gpu_ms: wall_ms.saturating_mul(u64::from(granted.gpus)),
            mem_mib_ms: wall_ms.saturating_mul(u64::from(granted.mem_mib)),
            vram_mib_ms: wall_ms.saturating_mul(u64::from(granted.vram_mib)),
            energy_mj,
            energy_source,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            requests: self.requests,
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC).unwrap_or(0)
}

/// Nanoseconds of a clock; `None` where there is no such clock (its process is gone).
pub(crate) fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

/// CPU time of another process, all threads added, in nanoseconds.
pub(crate) fn process_cpu_ns(pid: i32) -> Option<u64> {
    let mut clock = 0;
    // SAFETY: `clock` is a valid place for the answer.
    if unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } != 0 {
        return None;
    }
    clock_ns(clock)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page() -> Page {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE_BYTES).unwrap();
        let page = Page::map(&file).unwrap();
        assert_eq!(page.sample(), None);
        page.init();
        page
    }

    fn at(ms: u64, cpu_ms: u64) -> Now {
        Now { monotonic_ns: ms * 1_000_000, cpu_ns: cpu_ms * 1_000_000 }
    }

    const GRANTED: Resources =
        Resources { cpu_millis: 1000, mem_mib: 64, disk_mib: 0, gpus: 0, vram_mib: 0 };

    #[test]
    fn only_open_windows_count() {
        let page = page();
        page.open_window(at(1_000, 50));
        let open = page.sample().unwrap();
        assert_eq!(open.counters(Some(at(1_007, 53)), &GRANTED, 8).wall_ms, 7);
        page.tick(at(1_010, 55));
        page.close_window(at(1_020, 60));
        let idle = page.sample().unwrap();
        for now in [None, Some(at(9_999, 70))] {
            let counters = idle.counters(now, &GRANTED, 8);
            assert_eq!(
                (counters.wall_ms, counters.cpu_ms, counters.mem_mib_ms, counters.energy_mj),
                (20, 10, 20 * 64, 80)
            );
        }
    }

    #[test]
    fn a_death_ends_the_window_at_the_last_tick() {
        let page = page();
        page.open_window(at(100, 0));
        page.tick(at(130, 20));
        let counters = page.sample().unwrap().counters(None, &GRANTED, 8);
        assert_eq!((counters.wall_ms, counters.cpu_ms), (30, 20));
    }

    #[test]
    fn measured_energy_takes_the_place_of_the_estimate() {
        let page = page();
        page.open_window(at(100, 0));
        page.close_window(at(130, 20));
        let energy = || {
            let counters = page.sample().unwrap().counters(None, &GRANTED, 8);
            (counters.energy_mj, counters.energy_source)
        };
        assert_eq!(energy(), (160, EnergySource::Estimated));
        page.set_energy(0);
        assert_eq!(energy(), (0, EnergySource::Measured));
        page.set_energy(41_999);
        assert_eq!(energy(), (41, EnergySource::Measured));
    }

    #[test]
    fn the_clock_of_this_process_runs() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(process_cpu_ns(pid).unwrap() > 0);
        assert!(monotonic_ns() > 0);
    }

    proptest! {
        #[test]
        fn windows_add_up(windows in proptest::collection::vec((0u64..500, 0u64..500, 0u64..500), 0..40)) {
            let page = page();
            let (mut now, mut cpu, mut wall_sum, mut cpu_sum) = (1u64, 0u64, 0u64, 0u64);
            let mut last = Counters::default();
            for (idle, busy, work) in windows {
                now += idle;
                page.open_window(at(now, cpu));
                now += busy;
                cpu += work;
                page.close_window(at(now, cpu));
                wall_sum += busy;
                cpu_sum += work;
                let counters = page.sample().unwrap().counters(None, &GRANTED, 8);
                prop_assert!(counters.covers(&last));
                prop_assert_eq!((counters.wall_ms, counters.cpu_ms), (wall_sum, cpu_sum));
                last = counters;
            }
        }
    }
}
