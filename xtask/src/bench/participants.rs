//! Who is put under the load, and how much of it each gets.

use std::path::PathBuf;

use super::build::Built;

/// One program under the load of `benches/README.md`.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Jobs enqueued in bulk and worked. As many as take a second or two, so that each has found its pace and a round
    /// takes about as long for everybody.
    pub(crate) jobs: usize,
    /// Jobs enqueued one by one.
    pub(crate) singles: usize,
}

/// Our side through the API of users.
pub(crate) const OURS: &str = "ours";
/// Our side through the engine's verbs.
pub(crate) const ENGINE: &str = "engine";
/// The hand-written loop.
pub(crate) const RAW: &str = "raw";

/// Everybody, in the order of a round.
pub(crate) fn all(built: &Built, quick: bool) -> Vec<Participant> {
    let scale = if quick { 1 } else { 4 };
    let ours = |name: &'static str| Participant {
        name,
        program: built.bench(),
        arguments: vec![name.to_owned()],
        jobs: 50_000 * scale,
        singles: if name == RAW { 1_000 } else { 20_000 } * scale,
    };
    let peer = |name: &'static str, jobs: usize, singles: usize| {
        let (program, script) = built.peer(name);
        let arguments = script.into_iter().map(|path| path.display().to_string()).collect();
        Participant { name, program, arguments, jobs: jobs * scale, singles: singles * scale }
    };
    // apalis gets as few in a long run: each of its completions reads the whole table of jobs.
    let apalis = Participant { jobs: 2_000, ..peer("apalis", 2_000, 1_000) };
    vec![
        ours(OURS),
        ours(RAW),
        ours(ENGINE),
        peer("effectum", 20_000, 10_000),
        peer("honker", 20_000, 1_000),
        peer("river", 4_000, 1_000),
        peer("backlite", 4_000, 1_000),
        apalis,
        peer("huey", 1_000, 500),
    ]
}
