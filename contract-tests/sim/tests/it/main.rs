//! The simulation keeps its own promises: it sees what is wrong, and does again what it did.
#![cfg(test)]

mod bugs;
mod found;
mod seeds;
