//! Words and figures as the page shows them.

use kinesis_control::api::{AppState, Role};
use kinesis_protocol::{Address, B256};

/// The colour of a state.
pub(super) fn tone(state: &str) -> &'static str {
    match state {
        "up" | "active" | "running" | "completed" | "node_joined" => "good",
        "warm" | "standby" | "idle" | "queued" | "stopped" | "cancelled" => "calm",
        "take_over" => "accent",
        "lost" | "failed" | "silent" | "away" | "over_budget" | "node_lost" => "bad",
        "starting" | "placing" | "pending" | "draining" | "paused" | "withheld" | "leaving" => {
            "busy"
        }
        _ => "plain",
    }
}

/// The word for what is wanted of an app, as the API says it.
pub(super) fn app_state(state: AppState) -> &'static str {
    match state {
        AppState::Pending => "pending",
        AppState::Running => "running",
        AppState::Idle => "idle",
        AppState::Completed => "completed",
        AppState::Failed => "failed",
        AppState::Stopped => "stopped",
        AppState::OverBudget => "over_budget",
        AppState::Deleted => "deleted",
    }
}

/// The word for what a lease is held for.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Active => "active",
        Role::Standby => "standby",
    }
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `0x1234…cdef`.
pub(super) fn short_address(address: Address) -> String {
    ends(&format!("{address:#x}"))
}

/// `0x1234…cdef`.
pub(super) fn short_hash(hash: B256) -> String {
    ends(&format!("{hash:#x}"))
}

fn ends(hex: &str) -> String {
    match (hex.get(..8), hex.len().checked_sub(6).and_then(|at| hex.get(at..))) {
        (Some(first), Some(last)) => format!("{first}…{last}"),
        _ => hex.to_owned(),
    }
}

/// `13:05:09`, in UTC; a time nobody can mean is a dash.
pub(super) fn clock(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "–".to_owned(), |at| at.strftime("%H:%M:%S").to_string())
}

/// Cores with one decimal, from thousandths.
pub(super) fn cores(millis: u32) -> String {
    let (whole, tenths) = (millis / 1_000, millis % 1_000 / 100);
    format!("{whole}.{tenths}")
}

/// `512 MiB`, `1.5 GiB`.
pub(super) fn memory(mib: u32) -> String {
    if mib < 1_024 {
        format!("{mib} MiB")
    } else {
        format!("{}.{} GiB", mib / 1_024, mib % 1_024 * 10 / 1_024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(cores(1_500), "1.5");
        assert_eq!((memory(512), memory(1_536)), ("512 MiB".to_owned(), "1.5 GiB".to_owned()));
        assert_eq!(clock(0), "00:00:00");
        assert_eq!(clock(i64::MAX), "–");
        assert_eq!(short_address(Address::repeat_byte(0xab)), "0xababab…ababab");
    }
}
