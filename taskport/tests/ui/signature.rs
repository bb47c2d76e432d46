#![allow(unused)]

use std::borrow::Cow;

use taskport::{TaskContext, task};

#[task]
async fn generic<T>(value: T) {}

#[task]
async fn bounded(value: u8)
where
    u8: Copy,
{
}

#[task]
async fn borrowed(title: &str, words: Vec<&'static str>, name: Cow<'_, str>) {}

#[task]
async fn borrowed_result(title: String) -> &'static str {}

#[task]
async fn opaque(value: impl Into<String>) -> impl Send {}

#[task]
async fn patterns((x, y): (u8, u8), _: u8, ref z: u8) {}

#[task]
async fn context_later(title: String, ctx: &TaskContext) {}

#[task]
async fn context_by_value(ctx: TaskContext) {}

#[task]
async fn context_changed(ctx: &mut TaskContext) {}

#[task]
const fn constant() {}

#[task]
unsafe fn unsound() {}

#[task]
extern "C" fn foreign() {}

#[task]
async fn conditional(#[cfg(unix)] path: String) {}

struct Report;

impl Report {
    #[task]
    async fn method(&self, title: String) {}
}

fn main() {}
