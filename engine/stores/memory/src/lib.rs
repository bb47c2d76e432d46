//! The engine's in-memory store.
