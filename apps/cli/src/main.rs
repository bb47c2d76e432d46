//! The stock command line: tasks come from `taskport.toml`.

use std::process::ExitCode;

fn main() -> ExitCode {
    taskport::main(taskport::Registry::builder())
}
