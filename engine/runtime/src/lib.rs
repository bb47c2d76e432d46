//! The engine on its writer thread: group commit, wake-ups, the low-level API.
