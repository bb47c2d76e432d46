#![allow(unused)]

use taskport::{TaskContext, task};

#[task(remote)]
async fn with_a_body() {}

#[task]
async fn without_a_body();

#[task(remote, isolated, blocking, detach_on_timeout)]
async fn run_here();

#[task(remote)]
async fn with_a_context(ctx: &TaskContext, customer: String);

#[task(remote)]
async fn with_a_default(#[default(5)] cents: i64);

fn main() {}
