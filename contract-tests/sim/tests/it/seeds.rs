//! Seeds that keep every promise, and do so again in the same way.

use std::collections::BTreeSet;

use taskport_sim::{Figures, Good, On, Options, find, run};

fn good(seed: u64, on: On) -> Good {
    match find(seed, Options { on, ..Options::default() }).unwrap() {
        Ok(good) => good,
        Err(failure) => panic!("{failure}"),
    }
}

// proves R-411
#[test]
fn the_same_seed_is_the_same_run() {
    for on in [On::Memory, On::Sqlite] {
        let mut checksums = BTreeSet::new();
        for seed in 0..4 {
            let first = good(seed, on);
            assert_eq!(good(seed, on), first, "seed {seed}");
            checksums.insert(first.checksum);
        }
        assert_eq!(checksums.len(), 4, "other seeds are other runs");
    }
}

// proves R-410 R-413 R-414 R-415 R-416 R-417
#[test]
fn processes_that_share_a_store_keep_every_promise() {
    let mut figures = Figures::default();
    for seed in 100..120 {
        figures += good(seed, On::Memory).figures;
    }
    for seed in 100..103 {
        figures += good(seed, On::Sqlite).figures;
    }
    let Figures { commits, jobs, runs, attempts, faults, .. } = figures;
    assert!(commits > 2_000 && jobs > 2_000 && attempts > 2_000, "{figures:?}");
    assert!(runs > 100 && faults > 100, "{figures:?}");
}

// proves R-418
#[test]
fn both_stores_end_alike() {
    for seed in 0..4 {
        good(seed, On::Both);
    }
}

// proves R-411
#[test]
fn fewer_steps_are_the_beginning_of_more() {
    let short = |steps| run(5, Options { steps: Some(steps), ..Options::default() }).unwrap().unwrap();
    assert_eq!(short(0).figures.steps, 0);
    assert_eq!(short(30).figures.steps, 30);
    assert!(short(60).figures.jobs > short(30).figures.jobs);
}
