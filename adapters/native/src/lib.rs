//! The embedded engine as a Taskport backend.
