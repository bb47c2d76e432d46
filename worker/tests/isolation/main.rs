//! Attempts in child processes of this very program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
