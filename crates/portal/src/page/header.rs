//! The top of the page: the name, the newest payment root, the money that moved.

use kinesis_control::api::GridView;
use kinesis_protocol::NanoJoule;
use maud::{Markup, html};

use super::format::{grouped, short_address, short_hash};

/// The name, and whether the page is live.
pub(super) fn bar() -> Markup {
    html! {
        header.bar {
            a.brand href="/" {
                svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
                    path d="M13 2 4 14h6l-1 8 9-12h-6z" {}
                }
                span { "Kinesis" }
            }
            span.tagline { "compute like power on tap" }
            span #status data-status="still" role="status" { "refreshed every 2 s" }
        }
    }
}

/// The newest payment root.
pub(super) fn root(grid: &GridView) -> Markup {
    html! {
        @if let Some(root) = &grid.root {
            @let total = NanoJoule::from_wei(root.total_wei).unwrap_or(NanoJoule(i64::MAX));
            section #root data-live data-tick=(root.tick) data-root=(format!("{:#x}", root.root)) {
                div.root-head {
                    h2 { "Newest payment root" }
                    span.badge data-tone="good" { "signed" }
                }
                p.hash title=(format!("{:#x}", root.root)) {
                    code.wide { (format!("{:#x}", root.root)) }
                    code.narrow { (short_hash(root.root)) }
                }
                dl {
                    div { dt { "Tick" } dd.number { (grouped(root.tick)) } }
                    div { dt { "Pays" } dd.number { (total) " JOULE" } }
                    div { dt { "Suppliers" } dd.number { (root.payees) } }
                    div {
                        dt { "Signed by" }
                        dd { code title=(format!("{:#x}", root.utility)) { (short_address(root.utility)) } }
                    }
                    div {
                        dt { "Escrow" }
                        dd {
                            code title=(format!("{:#x}", grid.escrow)) { (short_address(grid.escrow)) }
                            span.muted { " chain " (grid.chain_id) }
                        }
                    }
                }
            }
        } @else {
            section #root data-live data-tick="0" {
                div.root-head { h2 { "Newest payment root" } span.badge data-tone="busy" { "none yet" } }
                p.empty { "The first is signed once a supplier has earned something." }
            }
        }
    }
}

/// All money that moved, and that it adds up.
pub(super) fn summary(grid: &GridView) -> Markup {
    let totals = &grid.totals;
    let exact = totals.difference == 0;
    let up = grid.nodes.iter().filter(|node| node.state == "up").count();
    html! {
        section #summary data-live data-difference=(totals.difference) {
            h2.hidden { "Money" }
            dl.figures {
                div { dt { "Suppliers up" } dd.number { (up) span.muted { " of " (grid.nodes.len()) } } }
                div { dt { "Customers paid" } dd.number { (totals.customer_nanousd) } }
                div {
                    dt { "Suppliers got" }
                    dd.number { (totals.suppliers_nanousd) }
                    dd.sub.number { (totals.suppliers_nanojoule) " JOULE" }
                }
                div { dt { "Margin" } dd.number { (totals.margin_nanousd) } }
                div { dt { "Protocol fee" } dd.number { (totals.fee_nanousd) } }
                div {
                    dt { "Difference" }
                    dd {
                        @if exact {
                            span.badge data-tone="good" { "exact" }
                        } @else {
                            span.badge data-tone="bad" { (totals.difference) }
                        }
                    }
                    dd.sub.number {
                        "1 JOULE = " (kinesis_protocol::NanoUsd(grid.joule_price.nanousd()))
                        @if let Some(desk) = &grid.desk { " (" (super::desk::source(desk)) ")" }
                    }
                }
            }
        }
    }
}
