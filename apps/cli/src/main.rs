//! The Taskport command line.
fn main() {}
