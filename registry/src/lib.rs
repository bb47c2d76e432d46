//! The static registry of tasks and workflows.
