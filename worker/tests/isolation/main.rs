//! Attempts in child processes of this very program: `main` has the hook first, as a user's has.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

mod cases;
mod tasks;

use std::io::Write;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    taskport_worker::child_hook(&tasks::registry());
    match std::env::args().nth(1).as_deref() {
        Some(tasks::GREET) => {
            std::io::stdout().write_all(b"hello").unwrap();
            ExitCode::SUCCESS
        }
        Some(cases::SPIN_FOREVER) => cases::spin_forever(),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),+ $(,)?) => {
            vec![$(Trial::test(stringify!($name), || {
                cases::$name();
                Ok(())
            })),+]
        };
    }
    trials![
        an_attempt_runs_in_a_warm_process_of_its_own,
        arguments_results_and_failures_cross,
        a_panic_in_a_child_says_where_and_leaves_it_alive,
        an_endless_loop_is_killed_at_its_hard_limit_with_all_it_started,
        a_memory_hog_is_killed_at_its_limit,
        a_child_that_dies_loses_one_attempt,
        a_stop_reaches_a_handler_that_never_yields,
        a_handler_that_ignores_a_cancel_is_killed_after_the_grace,
        earlier_results_are_read_through_the_parent,
        what_a_child_says_is_with_the_parent_before_its_end,
        a_program_that_a_handler_starts_is_no_child,
        children_are_bounded_and_end_with_their_pool,
        children_end_with_their_parent,
    ]
}

/// This program with one argument.
fn program(argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(argument);
    command
}
