//! The engine's SQLite store.
