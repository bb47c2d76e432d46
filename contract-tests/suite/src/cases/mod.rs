//! The contracts, by what they are about.

mod admin;
mod batches;
mod control;
mod describe;
mod journal;
mod lease;
mod limits;
mod order;
mod outbox;
mod retry;
mod schedules;
mod submit;
mod time;
mod unique;
mod upkeep;
mod workers;
mod workflow_faults;
mod workflow_options;
mod workflows;

use crate::runner::Case;

/// Every contract.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    [
        submit::CASES,
        order::CASES,
        limits::CASES,
        batches::CASES,
        time::CASES,
        retry::CASES,
        unique::CASES,
        describe::CASES,
        control::CASES,
        journal::CASES,
        outbox::CASES,
        lease::CASES,
        workers::CASES,
        admin::CASES,
        upkeep::CASES,
        schedules::CASES,
        workflows::CASES,
        workflow_options::CASES,
        workflow_faults::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Lists the cases of a file: each async function with the features it needs, the one it proves first.
macro_rules! cases {
    ($group:literal: $($name:ident needs [$($feature:ident),+ $(,)?]),+ $(,)?) => {
        pub(crate) const CASES: &[crate::runner::Case] = &[$(crate::runner::Case {
            name: concat!($group, "::", stringify!($name)),
            needs: &[$(taskport_abstraction::Feature::$feature),+],
            run: |fixture| Box::pin($name(fixture)),
        }),+];
    };
}
use cases;
