//! The simulation keeps its own promises: it sees what is wrong, and does again what it did.

mod bugs;
mod found;
mod seeds;
