//! The engine on its two stores, and what is special to a file.
#![cfg(test)]

mod backup;
mod file;
mod golden;
mod harness;
mod integrity;
mod jobs;
mod journal;
mod limits;
mod malformed;
mod model;
mod shared;
mod upkeep;
