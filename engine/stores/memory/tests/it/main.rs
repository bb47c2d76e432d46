//! Runs of workflows on the engine, over both embedded stores.

mod ends;
mod runs;
mod several;
mod world;
