//! The page: the grid as a person sees it, rendered from one picture.
//!
//! Everything that changes lies in a section with `data-live` and an id of its own; the script
//! replaces what differs. Rows carry `data-` attributes with their ids and states, so that a test can
//! follow them. Nothing is inline but markup: the policy in `server` allows no inline style or script.

mod apps;
mod desk;
mod format;
mod header;
mod nodes;

use kinesis_control::api::{AppKind, Event, GridView};
use maud::{DOCTYPE, Markup, html};

use format::{clock, tone};

/// The grid at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) grid: GridView,
    /// Newest first.
    pub(crate) happened: Vec<Happening>,
}

/// Something that happened, and when.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    pub(crate) at_ms: i64,
    pub(crate) event: Event,
}

/// The whole page.
pub(crate) fn document(picture: &Picture) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Kinesis: the grid" }
                link rel="icon" href="/favicon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                script src="/app.js" defer {}
                noscript { meta http-equiv="refresh" content="2"; }
            }
            body {
                (header::bar())
                main { (sections(picture)) }
                footer {
                    p {
                        "Amounts are exact: billionths of a dollar and of a JOULE. "
                        a href="/v1/grid" { "This page as JSON" }
                        " · "
                        a href="/v1/openapi.json" { "API" }
                    }
                }
            }
        }
    }
}

/// All that changes.
pub(crate) fn sections(picture: &Picture) -> Markup {
    let grid = &picture.grid;
    let (services, jobs): (Vec<_>, Vec<_>) =
        grid.apps.iter().partition(|app| app.kind == AppKind::Service);
    html! {
        (header::root(grid))
        (header::summary(grid))
        (desk::block(grid.desk.as_ref()))
        (nodes::table(grid))
        (apps::services(&services))
        (apps::jobs(&jobs))
        (happenings(&picture.happened))
    }
}

/// A state, in its colour.
fn badge(state: &str) -> Markup {
    html! { span.badge data-tone=(tone(state)) { (state.replace('_', " ")) } }
}

/// A section with a heading and how many there are.
fn section(id: &str, title: &str, count: usize, empty: &str, content: &Markup) -> Markup {
    html! {
        section #(id) data-live data-count=(count) {
            h2 { (title) " " span.count { (count) } }
            @if count == 0 {
                p.empty { (empty) }
            } @else {
                (content)
            }
        }
    }
}

fn happenings(happened: &[Happening]) -> Markup {
    let list = html! {
        ol.events {
            @for Happening { at_ms, event } in happened {
                @let (kind, what) = told(event);
                li data-event=(kind) {
                    time title="UTC" { (clock(*at_ms)) }
                    span.dot data-tone=(tone(kind)) {}
                    span { (what) }
                }
            }
        }
    };
    section("events", "What happened", happened.len(), "Nothing yet.", &list)
}

fn told(event: &Event) -> (&'static str, Markup) {
    match event {
        Event::NodeJoined { name, .. } => ("node_joined", html! { b { (name) } " joined" }),
        Event::NodeLost { name, reason, .. } => {
            ("node_lost", html! { b { (name) } " was lost: " (reason) })
        }
        Event::TakeOver { replica, name, .. } => {
            ("take_over", html! { b { (name) } " took over replica " (replica) })
        }
        Event::App { name, state, .. } => {
            ("app", html! { b { (name) } " is " (format::app_state(*state).replace('_', " ")) })
        }
        // Kept out by `live`: they are too many, or not for everyone.
        Event::Lease { .. }
        | Event::Budget { .. }
        | Event::ReportRefused { .. }
        | Event::Tick { .. } => ("other", html! {}),
    }
}

#[cfg(test)]
mod tests;
