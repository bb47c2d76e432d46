#![allow(unused)]

use taskport::task;

#[task]
async fn required_last(#[default(7)] pages: u32, title: String) {}

#[task]
async fn written_as_a_value(#[default = 7] pages: u32) {}

#[task]
async fn empty(#[default()] pages: u32) {}

#[task]
async fn of_another_type(#[default("seven")] pages: u32) {}

fn main() {}
