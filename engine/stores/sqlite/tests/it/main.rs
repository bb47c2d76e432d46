//! The engine on its two stores, and what is special to a file.
#![cfg(test)]

mod file;
mod harness;
mod jobs;
mod model;
mod shared;
