//! The portal in front of a real control, store and wire, with agents that speak the real protocol.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod api;
mod chain;
mod fixture;
mod history;
mod openapi;
mod page;
mod server;
