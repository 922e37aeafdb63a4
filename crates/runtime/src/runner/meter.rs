//! Measures when the guest works, and drives the epochs that interrupt it.
//!
//! A window is open while anything is in flight. One thread ticks while a window is open: it moves
//! the engine's epoch on, so that no guest keeps a thread, and notes on the meter page that the
//! window still lasts. When nothing is in flight it soon stops, so that an idle sandbox uses no CPU.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use wasmtime::Engine;

use crate::page::{Now, Page, clock_ns, monotonic_ns};

/// How long a guest may run before others get their turn.
const TICK: Duration = Duration::from_millis(10);
/// Ticks without work before the thread stops.
const IDLE_TICKS: u32 = 4;

/// The meter of a sandbox.
#[derive(Debug)]
pub(super) struct Meter {
    page: Page,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    in_flight: u32,
    /// Unmetered work that must be interruptible too: instantiation.
    booting: u32,
    parked: bool,
}

/// Something in flight; ends when dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Meter>);

/// Work that nobody pays for; ends when dropped.
#[derive(Debug)]
pub(super) struct Boot(Arc<Meter>);

fn now() -> Now {
    Now {
        monotonic_ns: monotonic_ns(),
        cpu_ns: clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0),
    }
}

impl Meter {
    pub(super) fn new(page: Page) -> Arc<Self> {
        Arc::new(Self { page, state: Mutex::default(), wake: Condvar::new() })
    }

    /// Starts the ticking thread. `on_tick` is called about ten times a second of work.
    pub(super) fn start_ticking(
        self: &Arc<Self>,
        engine: Engine,
        on_tick: impl FnMut() + Send + 'static,
    ) -> std::io::Result<()> {
        let meter = Arc::downgrade(self);
        std::thread::Builder::new()
            .name("tick".into())
            .spawn(move || tick(&meter, &engine, on_tick))
            .map(drop)
    }

    /// Something begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = self.state.lock();
        state.in_flight += 1;
        if state.in_flight == 1 {
            self.page.open_window(now());
            self.unpark(&state);
        }
        self.page.set_in_flight(state.in_flight);
        drop(state);
        Busy(Arc::clone(self))
    }

    /// Unmetered work begins.
    pub(super) fn boot(self: &Arc<Self>) -> Boot {
        let mut state = self.state.lock();
        state.booting += 1;
        self.unpark(&state);
        drop(state);
        Boot(Arc::clone(self))
    }

    fn unpark(&self, state: &State) {
        if state.parked {
            self.wake.notify_one();
        }
    }

    /// A request was answered to its end.
    pub(super) fn answered(&self) {
        self.page.add_request();
    }

    /// Bytes of a request body were received.
    pub(super) fn received(&self, bytes: usize) {
        self.page.add_rx(bytes.try_into().unwrap_or(u64::MAX));
    }

    /// Bytes of a response body were sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.page.add_tx(bytes.try_into().unwrap_or(u64::MAX));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let meter = &self.0;
        let mut state = meter.state.lock();
        state.in_flight -= 1;
        if state.in_flight == 0 {
            meter.page.close_window(now());
        }
        meter.page.set_in_flight(state.in_flight);
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        self.0.state.lock().booting -= 1;
    }
}

fn tick(meter: &Weak<Meter>, engine: &Engine, mut on_tick: impl FnMut()) {
    let (mut idle, mut ticks) = (0, 0u32);
    loop {
        std::thread::sleep(TICK);
        let Some(meter) = meter.upgrade() else { return };
        engine.increment_epoch();
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(10) {
            on_tick();
        }
        let mut state = meter.state.lock();
        if state.in_flight > 0 {
            meter.page.tick(now());
        }
        if state.in_flight > 0 || state.booting > 0 {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle >= IDLE_TICKS {
            idle = 0;
            state.parked = true;
            while state.in_flight == 0 && state.booting == 0 {
                meter.wake.wait(&mut state);
            }
            state.parked = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PAGE_BYTES;

    #[test]
    fn windows_open_with_the_first_and_close_with_the_last() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE_BYTES).unwrap();
        let page = Page::map(&file).unwrap();
        page.init();
        let reader = Page::map(&file).unwrap();
        let meter = Meter::new(page);
        meter.start_ticking(Engine::default(), || {}).unwrap();

        let first = meter.begin();
        let second = meter.begin();
        assert_eq!(reader.sample().unwrap().in_flight, 2);
        drop(first);
        assert_ne!(reader.sample().unwrap().since_ns, 0);
        drop(second);
        let sample = reader.sample().unwrap();
        assert_eq!((sample.since_ns, sample.in_flight), (0, 0));
        assert!(sample.busy_ns > 0);
        // Idle for long: nothing is added, whether or not the ticking thread has stopped.
        std::thread::sleep(TICK * (IDLE_TICKS + 3));
        assert_eq!(reader.sample().unwrap().busy_ns, sample.busy_ns);
        drop(meter.begin());
        assert!(reader.sample().unwrap().busy_ns > sample.busy_ns);
    }
}
