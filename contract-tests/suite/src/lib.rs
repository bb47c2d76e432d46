//! The contract every Taskport adapter is tested against.
