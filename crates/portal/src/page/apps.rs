//! Apps: services with their replicas and standbys, jobs with their parts.

use kinesis_control::api::{AppView, JobView, ReplicaView};
use maud::{Markup, html};

use super::{
    badge,
    format::{app_state, grouped, role, tone},
    section,
};

pub(super) fn services(apps: &[&AppView]) -> Markup {
    let table = html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "Service" }
                        th scope="col" { "State" }
                        th scope="col" { "Runs on" }
                        th.number scope="col" { "Requests" }
                        th.number scope="col" { "Cost" }
                    }
                }
                tbody {
                    @for app in apps {
                        tr data-app=(app.name) data-state=(app_state(app.state)) {
                            th scope="row" {
                                @match &app.url {
                                    Some(url) => a href=(url) { (app.name) },
                                    None => (app.name),
                                }
                                span.under { "version " (app.version) }
                            }
                            td data-label="State" { (state(app)) }
                            td data-label="Runs on" { (replicas(&app.replicas)) }
                            td.number data-label="Requests" data-requests=(app.requests) {
                                (grouped(app.requests))
                            }
                            td.number data-label="Cost" { (cost(app)) }
                        }
                    }
                }
            }
        }
    };
    let empty = "No service is deployed. Try: kinesis deploy examples/guestbook";
    section("apps", "Services", apps.len(), empty, &table)
}

pub(super) fn jobs(apps: &[&AppView]) -> Markup {
    let table = html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "Job" }
                        th scope="col" { "State" }
                        th scope="col" { "Parts" }
                        th.number scope="col" { "Cost" }
                    }
                }
                tbody {
                    @for app in apps {
                        tr data-app=(app.name) data-state=(app_state(app.state)) {
                            th scope="row" { (app.name) span.under { "version " (app.version) } }
                            td data-label="State" { (state(app)) }
                            td data-label="Parts" { @if let Some(job) = &app.job { (parts(job)) } }
                            td.number data-label="Cost" { (cost(app)) }
                        }
                    }
                }
            }
        }
    };
    section(
        "jobs",
        "Jobs",
        apps.len(),
        "No job ran in the last ten minutes. Try: kinesis run examples/render",
        &table,
    )
}

fn state(app: &AppView) -> Markup {
    html! {
        (badge(app_state(app.state)))
        @if let Some(why) = &app.reason { span.under.reason { (why) } }
        @if let Some(what) = &app.warning { span.under.reason data-warning { "warning: " (what) } }
    }
}

fn cost(app: &AppView) -> Markup {
    html! {
        span data-spent=(app.spent_nanousd.0) { (app.spent_nanousd) }
        @if let Some(budget) = app.budget_nanousd { span.under { "of " (budget) } }
    }
}

fn replicas(replicas: &[ReplicaView]) -> Markup {
    html! {
        ul.places {
            @for replica in replicas {
                @let role = role(replica.role);
                li data-lease=(replica.lease) data-replica=(replica.replica) data-epoch=(replica.epoch)
                    data-role=(role) data-state=(replica.state) data-node=(replica.node) {
                    span.dot data-tone=(tone(&replica.state)) {}
                    span.place data-node-name=(replica.node_name) { (replica.node_name) }
                    span.muted {
                        @if role == replica.state { (role) } @else { (role) ", " (replica.state) }
                        " · replica " (replica.replica) ", epoch " (replica.epoch)
                    }
                }
            }
        }
    }
}

fn parts(job: &JobView) -> Markup {
    let (done, all) = (job.parts_completed, job.parts_total);
    let more = usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(job.parts.len());
    html! {
        div.progress {
            progress value=(done) max=(all.max(1)) {}
            span.muted { (done) " of " (all) }
        }
        ul.places {
            @for part in &job.parts {
                li data-part=(part.part) data-state=(part.state) {
                    span.dot data-tone=(tone(&part.state)) {}
                    span.place { "part " (part.part) }
                    span.muted {
                        (part.state)
                        @if let Some(node) = &part.node_name { " on " (node) }
                        @if let Some(wall_ms) = part.wall_ms { ", " (grouped(wall_ms)) " ms" }
                        @if part.attempts > 1 { ", attempt " (part.attempts) }
                        @if part.state != "completed" {
                            @if let Some(ending) = &part.ending { ": " (ending) }
                        }
                    }
                }
            }
            @if more > 0 { li.muted { "and " (more) " more" } }
        }
    }
}
