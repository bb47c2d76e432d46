//! What jobs do: every handler writes its effect, and some misbehave.

use std::time::Duration;

use taskport::prelude::*;
use taskport::{Call, IntoCall, RegistryBuilder};

use super::ledger::Effect;

/// The tasks of every victim.
pub fn registry() -> RegistryBuilder {
    registry![plain, takes, flaky, doomed, panics, aborts, aborts_child, loops, hogs, tick, echo]
}

/// The task of [`echo_call`] alone, for workers that have no children.
pub fn echo_registry() -> RegistryBuilder {
    registry![echo]
}

/// Tasks that run in a child, which cannot write to the ledger of its parent.
pub(crate) const ISOLATED: [&str; 3] = ["fault.aborts_child", "fault.loops", "fault.hogs"];

#[task(name = "fault.plain")]
pub(crate) async fn plain(ctx: &TaskContext, key: String) -> TaskResult<()> {
    done(Effect::start(ctx, &key))
}

/// Takes a while, and stops early where it is asked to.
#[task(name = "fault.takes")]
pub(crate) async fn takes(ctx: &TaskContext, key: String, millis: u64) -> TaskResult<()> {
    let effect = Effect::start(ctx, &key);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(millis)) => done(effect),
        reason = ctx.cancelled() => Err(TaskError::retry_after(Duration::ZERO, format!("stopped: {reason:?}"))),
    }
}

/// Fails until its attempt is the `good`-th.
#[task(name = "fault.flaky")]
pub(crate) async fn flaky(ctx: &TaskContext, key: String, good: u32) -> TaskResult<()> {
    let effect = Effect::start(ctx, &key);
    if ctx.attempt() < good {
        return Err(TaskError::retry_after(Duration::from_millis(20), "not yet"));
    }
    done(effect)
}

#[task(name = "fault.doomed")]
pub(crate) async fn doomed(ctx: &TaskContext, key: String) -> TaskResult<()> {
    let _effect = Effect::start(ctx, &key);
    Err(TaskError::fatal("doomed"))
}

#[task(name = "fault.panics")]
pub(crate) async fn panics(ctx: &TaskContext, key: String) -> TaskResult<()> {
    let _effect = Effect::start(ctx, &key);
    panic!("on purpose")
}

#[task(name = "fault.aborts")]
pub(crate) async fn aborts(ctx: &TaskContext, key: String) -> TaskResult<()> {
    let _effect = Effect::start(ctx, &key);
    std::process::abort()
}

#[task(name = "fault.aborts_child", isolated, timeout = "30s")]
pub(crate) fn aborts_child(key: String) -> TaskResult<()> {
    let _unused = key;
    std::process::abort()
}

#[task(name = "fault.loops", isolated, timeout = "300ms")]
pub(crate) fn loops(key: String) -> TaskResult<()> {
    let _unused = key;
    loop {
        std::hint::spin_loop();
    }
}

#[task(name = "fault.hogs", isolated, timeout = "30s")]
pub(crate) fn hogs(key: String) -> TaskResult<()> {
    let _unused = key;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        // Pages count only once they are written.
        taken.push(vec![1; 4 << 20]);
        std::hint::black_box(&taken);
    }
}

/// The call of a schedule. All of its jobs have the same arguments, so each is known by its id.
pub fn tick_call() -> Call<()> {
    tick().into_call()
}

#[task(name = "fault.tick")]
async fn tick(ctx: &TaskContext) -> TaskResult<()> {
    done(Effect::start(ctx, ctx.job().as_str()))
}

/// A call whose arguments are as long as `padding` makes them.
pub fn echo_call(padding: String) -> Call<String> {
    echo(String::new(), 2, padding).into_call()
}

/// A call whose result is a document of so many bytes.
pub fn echo_result_call(bytes: usize) -> Call<String> {
    echo(String::new(), bytes, String::new()).into_call()
}

/// Returns text of a given length.
#[task(name = "fault.echo")]
pub(crate) async fn echo(
    ctx: &TaskContext,
    key: String,
    bytes: usize,
    padding: String,
) -> TaskResult<String> {
    let effect = Effect::start(ctx, &key);
    let _unused = padding;
    if let Some(effect) = effect {
        effect.end();
    }
    // Two quotes belong to the document.
    Ok("x".repeat(bytes.saturating_sub(2)))
}

fn done(effect: Option<Effect>) -> TaskResult<()> {
    if let Some(effect) = effect {
        effect.end();
    }
    Ok(())
}
