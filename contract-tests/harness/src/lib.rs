//! Processes, ports and servers for tests.
