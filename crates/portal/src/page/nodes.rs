//! Suppliers' machines: what they are, how they are, what they earn.

use kinesis_control::api::{GridView, NodeView};
use maud::{Markup, html};

use super::{
    badge,
    format::{cores, memory, short_address},
    section,
};

pub(super) fn table(grid: &GridView) -> Markup {
    let table = html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "Node" }
                        th scope="col" { "Tier" }
                        th scope="col" { "State" }
                        th scope="col" { "Free" }
                        th.number scope="col" { "Leases" }
                        th.number scope="col" { "JOULE per second" }
                        th.number scope="col" { "JOULE earned" }
                    }
                }
                tbody {
                    @for node in &grid.nodes { (row(node)) }
                }
            }
        }
    };
    let empty = "No supplier has joined yet. Plug this machine in: kinesis supply join";
    section("suppliers", "Suppliers", grid.nodes.len(), empty, &table)
}

fn row(node: &NodeView) -> Markup {
    let (free, offered) = (&node.free, &node.offered);
    html! {
        tr data-node=(node.node) data-state=(node.state) data-tier=(node.tier) {
            th scope="row" {
                (node.name)
                @if !node.region.is_empty() { span.muted { " " (node.region) } }
                code.under title=(format!("{:#x}", node.supplier)) { (short_address(node.supplier)) }
            }
            td data-label="Tier" { span.badge.outline { (node.tier) } }
            td data-label="State" {
                (badge(&node.state))
                @if let Some(why) = &node.paused { span.under { (why) } }
                @if let Some(why) = &node.withheld { span.under { (why) } }
            }
            td data-label="Free" {
                span.nowrap { (cores(free.cpu_millis)) " of " (cores(offered.cpu_millis)) " cores" }
                span.under { (memory(free.mem_mib)) " of " (memory(offered.mem_mib)) }
            }
            td.number data-label="Leases" { (node.leases) }
            td.number.earning data-label="JOULE per second" data-earning=(node.earned_last_second_nanojoule.0) {
                (node.earned_last_second_nanojoule)
            }
            td.number data-label="JOULE earned" data-earned=(node.earned_nanojoule.0) {
                (node.earned_nanojoule)
            }
        }
    }
}
