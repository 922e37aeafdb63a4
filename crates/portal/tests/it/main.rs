//! The portal in front of a real control, store and wire, with agents that speak the real protocol.

mod api;
mod fixture;
mod openapi;
mod page;
mod server;
