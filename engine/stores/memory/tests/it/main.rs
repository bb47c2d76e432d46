//! Runs of workflows on the engine, over both embedded stores.
#![cfg(test)]

mod ends;
mod runs;
mod schedules;
mod several;
mod world;
