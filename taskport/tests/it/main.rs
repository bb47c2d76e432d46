//! The facade as a program uses it, with real workers over SQLite.

mod blocking;
mod configured;
mod jobs;
mod kit;
mod many;
mod options;
mod runs;
mod task_attribute;
mod ui;
