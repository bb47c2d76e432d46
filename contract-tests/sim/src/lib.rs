//! Simulates the engine by seed: several processes on one store, what goes wrong, and whether every promise holds.
//!
//! [`run`] plays one seed: processes with clocks of their own submit, claim, settle, cancel and start workflows in group
//! commits on one shared store that now and then fails, while a [model](Broken) compares every answer and every row with
//! what was promised. At the end the faults heal, everything is worked off, and `taskport-checker` judges what the
//! processes wrote down. The same seed is the same run, to the byte.
//!
//! [`find`] plays a seed and, where it fails, looks for the smallest number of steps that does.
//! `specs/simulation.md` says what is simulated, which faults there are and what must hold.

mod backing;
mod book;
mod broken;
mod bug;
mod faults;
mod find;
mod graph;
mod history;
mod model;
mod plan;
mod process;
mod store;
mod turn;
mod world;

pub use self::broken::Broken;
pub use self::bug::Bug;
pub use self::find::{Failure, Good, On, Options, find, run};
pub use self::world::Figures;
