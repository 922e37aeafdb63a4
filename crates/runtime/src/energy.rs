//! Energy, read off the processors' own counters (RAPL) where this process may.
//!
//! A lease's share of what the processors drew is its share of the CPU time that they had to give:
//! what idle cores draw is their owner's, so that leases together never get more than was drawn.
//! The counters turn over after some minutes at full power; readings are taken far more often.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use parking_lot::Mutex;

use crate::page::monotonic_ns;

/// The processors' energy counters.
#[derive(Debug)]
pub(crate) struct Gauge {
    packages: Mutex<Vec<Package>>,
    cpus: u64,
}

/// One processor's counter.
#[derive(Debug)]
struct Package {
    counter: File,
    /// Where the counter turns over.
    range_uj: u64,
    last_uj: u64,
    /// Since it was opened.
    drawn_uj: u64,
}

/// What was drawn until a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// By all processors, since the gauge was opened.
    drawn_uj: u64,
    /// `CLOCK_MONOTONIC`.
    at_ns: u64,
}

impl Gauge {
    /// Opens the counters below `powercap`, the kernel's directory of that name; `None` where there
    /// are none, or where any of them may not be read.
    pub(crate) fn open(powercap: &Path) -> Option<Self> {
        let mut packages = Vec::new();
        for entry in fs::read_dir(powercap).ok()?.flatten() {
            let name = entry.file_name();
            // `intel-rapl:0:1` is part of `intel-rapl:0`.
            let is_zone = name
                .to_str()
                .and_then(|name| name.strip_prefix("intel-rapl:"))
                .is_some_and(|number| number.parse::<u32>().is_ok());
            let zone = entry.path();
            // There is also one for the whole board, of which processors are a part.
            let is_package = || {
                fs::read_to_string(zone.join("name")).is_ok_and(|name| name.starts_with("package"))
            };
            if is_zone && is_package() {
                packages.push(Package::open(&zone)?);
            }
        }
        let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok()??;
        let cpus = u64::try_from(cpus).ok().filter(|cpus| *cpus > 0)?;
        (!packages.is_empty()).then(|| Self { packages: Mutex::new(packages), cpus })
    }

    /// `None` where a counter cannot be read just now.
    pub(crate) fn read(&self) -> Option<Reading> {
        let mut packages = self.packages.lock();
        let mut drawn_uj = 0u64;
        for package in packages.iter_mut() {
            drawn_uj = drawn_uj.saturating_add(package.read()?);
        }
        Some(Reading { drawn_uj, at_ns: monotonic_ns() })
    }

    /// A lease's share, from now on.
    pub(crate) fn share(&self) -> Option<Share> {
        Some(Share { last: self.read()?, cpus: self.cpus, cpu_ns: 0, uj: 0 })
    }
}

impl Package {
    fn open(zone: &Path) -> Option<Self> {
        let counter = File::open(zone.join("energy_uj")).ok()?;
        let range = fs::read_to_string(zone.join("max_energy_range_uj")).ok()?;
        let range_uj = range.trim().parse().ok()?;
        let last_uj = value(&counter)?;
        Some(Self { counter, range_uj, last_uj, drawn_uj: 0 })
    }

    fn read(&mut self) -> Option<u64> {
        let now_uj = value(&self.counter)?;
        let turned_over = || self.range_uj.saturating_sub(self.last_uj).saturating_add(now_uj);
        let more = now_uj.checked_sub(self.last_uj).unwrap_or_else(turned_over);
        self.last_uj = now_uj;
        self.drawn_uj = self.drawn_uj.saturating_add(more);
        Some(self.drawn_uj)
    }
}

/// The number in a file that the kernel writes anew for each reading from its beginning.
fn value(file: &File) -> Option<u64> {
    let mut bytes = [0; 32];
    let length = file.read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(bytes.get(..length)?).ok()?.trim().parse().ok()
}

/// A lease's share of what was drawn: only grows.
#[derive(Debug)]
pub(crate) struct Share {
    last: Reading,
    cpus: u64,
    /// CPU time that has its energy.
    cpu_ns: u64,
    uj: u64,
}

impl Share {
    /// Adds the share of a lease that has used `cpu_ns` so far. Returns the sum, in microjoules.
    pub(crate) fn add(&mut self, now: Reading, cpu_ns: u64) -> u64 {
        let given_ns = now.at_ns.saturating_sub(self.last.at_ns).saturating_mul(self.cpus);
        let used_ns = cpu_ns.saturating_sub(self.cpu_ns).min(given_ns);
        if given_ns > 0 {
            let drawn = u128::from(now.drawn_uj.saturating_sub(self.last.drawn_uj));
            let share = drawn * u128::from(used_ns) / u128::from(given_ns);
            self.uj = self.uj.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
            self.cpu_ns = self.cpu_ns.max(cpu_ns);
            self.last = now;
        }
        self.uj
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(powercap: &Path, dir: &str, name: &str, uj: u64) {
        let zone = powercap.join(dir);
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        fs::write(zone.join("energy_uj"), format!("{uj}\n")).unwrap();
        fs::write(zone.join("max_energy_range_uj"), "1000000\n").unwrap();
    }

    #[test]
    fn processors_are_added_and_their_parts_are_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Gauge::open(dir.path()).is_none(), "no counters");
        let parts = [
            ("intel-rapl:2", "psys"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl", "package-9"),
            ("intel-rapl-mmio:0", "package-0"),
        ];
        for (dir_name, name) in parts {
            zone(dir.path(), dir_name, name, 5);
        }
        assert!(Gauge::open(dir.path()).is_none(), "no processor among them");
        zone(dir.path(), "intel-rapl:0", "package-0", 999_900);
        zone(dir.path(), "intel-rapl:1", "package-1", 500);
        let gauge = Gauge::open(dir.path()).unwrap();
        assert_eq!(gauge.read().unwrap().drawn_uj, 0);
        zone(dir.path(), "intel-rapl:0", "package-0", 50);
        zone(dir.path(), "intel-rapl:1", "package-1", 700);
        for (dir_name, name) in parts {
            zone(dir.path(), dir_name, name, 900_000);
        }
        assert_eq!(gauge.read().unwrap().drawn_uj, 150 + 200, "one of them has turned over");
        fs::write(dir.path().join("intel-rapl:1/energy_uj"), "nonsense").unwrap();
        assert_eq!(gauge.read(), None);
        zone(dir.path(), "intel-rapl:1", "package-1", 800);
        assert_eq!(gauge.read().unwrap().drawn_uj, 150 + 300);
    }

    #[test]
    fn a_counter_that_may_not_be_read_measures_nothing() {
        let dir = tempfile::tempdir().unwrap();
        zone(dir.path(), "intel-rapl:0", "package-0", 1);
        zone(dir.path(), "intel-rapl:1", "package-1", 1);
        fs::remove_file(dir.path().join("intel-rapl:1/energy_uj")).unwrap();
        assert!(Gauge::open(dir.path()).is_none());
    }

    #[test]
    fn a_share_is_that_of_the_cpu_time() {
        let at = |ns, drawn_uj| Reading { drawn_uj, at_ns: ns };
        let mut share = Share { last: at(0, 0), cpus: 4, cpu_ns: 0, uj: 0 };
        assert_eq!(share.add(at(1_000, 800), 1_000), 200, "one of four cores");
        assert_eq!(share.add(at(1_000, 800), 1_000), 200, "no time has passed");
        assert_eq!(share.add(at(2_000, 1_600), 1_000), 200, "it was idle");
        assert_eq!(share.add(at(3_000, 2_400), 900), 200, "the last tick of the dead is earlier");
        assert_eq!(share.add(at(4_000, 3_200), 9_000), 1_000, "no more than all");
    }

    proptest! {
        #[test]
        fn shares_only_grow_and_are_never_more_than_was_drawn(
            steps in proptest::collection::vec((0u64..1_000_000, 0u64..1_000_000, 0u64..2_000_000), 1..40),
        ) {
            let start = Reading { drawn_uj: 7, at_ns: 9 };
            let mut both = [0, 0].map(|_| Share { last: start, cpus: 2, cpu_ns: 0, uj: 0 });
            let (mut now, mut cpu, mut last) = (start, [0u64; 2], 0);
            for (time, drawn, used) in steps {
                now = Reading { drawn_uj: now.drawn_uj + drawn, at_ns: now.at_ns + time };
                // What one of them uses of two cores, the other cannot.
                let used = used.min(time * 2);
                cpu[0] += used;
                cpu[1] += time * 2 - used;
                let sum = both[0].add(now, cpu[0]) + both[1].add(now, cpu[1]);
                prop_assert!(sum >= last && sum <= now.drawn_uj - start.drawn_uj);
                last = sum;
            }
        }
    }
}
