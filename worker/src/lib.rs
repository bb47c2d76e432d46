//! What every Taskport worker shares: executor, limits, leases, draining.
