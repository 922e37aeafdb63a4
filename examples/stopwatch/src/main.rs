//! A job that keeps a core busy for a given time and says how long it saw itself work: the witness
//! the meter is held against.
//!
//! `stopwatch MS [--sleep]` prints one line of JSON, `{"guest_ms":2320.004,"rounds":81920}`. It
//! looks at its clock first thing and last thing, so that what it says is as close to its whole
//! life as a guest can see. With `--sleep` it waits instead of working.

use std::{
    env,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// How many rounds are worked between two looks at the clock: some tens of microseconds.
const ROUNDS: u64 = 1 << 14;

fn main() -> ExitCode {
    let begun = Instant::now();
    let mut args = env::args().skip(1);
    let Some(wanted) = args.next().and_then(|ms| ms.parse().ok()).map(Duration::from_millis) else {
        eprintln!("usage: stopwatch MS [--sleep]");
        return ExitCode::from(2);
    };
    let (mut rounds, mut state) = (0_u64, 0x9E37_79B9_7F4A_7C15_u64);
    if args.next().as_deref() == Some("--sleep") {
        thread::sleep(wanted.saturating_sub(begun.elapsed()));
    }
    while begun.elapsed() < wanted {
        state = work(state);
        rounds += ROUNDS;
    }
    // The sum is printed so that no compiler may leave the work out.
    let sum = state & 0xFFFF;
    let guest_ms = begun.elapsed().as_secs_f64() * 1000.0;
    println!("{{\"guest_ms\":{guest_ms:.3},\"rounds\":{rounds},\"sum\":{sum}}}");
    ExitCode::SUCCESS
}

/// [`ROUNDS`] steps of xorshift64.
fn work(mut state: u64) -> u64 {
    for _ in 0..ROUNDS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}
