//! The embedded engine: jobs, leases, retries and workflow runs as pure state machines over a store.
