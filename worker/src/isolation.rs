//! Isolated tasks: attempts in a child process that can be killed.
//!
//! The child is this program again, started with the same arguments; [`child_hook`] turns it into a server of attempts.
//! Parent and child talk over a Unix socket of their own in a private directory. The child leads a process group, which
//! is killed as a whole at a limit, and which kills itself when its parent is gone. A process that a handler moves to a
//! group of its own is out of reach.

mod child;
mod pool;
mod private_dir;
mod process;
mod protocol;

use std::sync::atomic::{AtomicBool, Ordering};

use taskport_registry::Registry;

pub(crate) use self::pool::{Child, ChildPool};

/// Whether this program can serve as a child.
static HOOKED: AtomicBool = AtomicBool::new(false);

/// Makes this program able to run isolated tasks in children of its own.
///
/// Call it in `main` before anything that must not happen twice. In a child it serves attempts of `registry` and never
/// returns; everywhere else it returns at once. The registry must be the one the worker uses.
pub fn child_hook(registry: &Registry) {
    match child::parent() {
        Some(socket) => child::serve(registry, &socket),
        None => HOOKED.store(true, Ordering::Release),
    }
}

fn is_hooked() -> bool {
    HOOKED.load(Ordering::Acquire)
}
