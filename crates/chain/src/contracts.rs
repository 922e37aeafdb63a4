//! Bindings (written after the artifacts).
