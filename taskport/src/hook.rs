use taskport_registry::RegistryBuilder;

/// Makes this program able to run isolated tasks of `registry` in children of its own.
///
/// Call it first in `main`, unless the program uses [`main`](crate::main), which does so itself. In a child it serves
/// attempts and never returns; everywhere else it returns at once.
///
/// # Examples
/// ```
/// use taskport::prelude::*;
///
/// #[task(isolated)]
/// fn crunch(n: u64) -> TaskResult<u64> {
///     Ok((1..=n).product())
/// }
///
/// fn main() {
///     taskport::child_hook(&registry![crunch]);
///     // …
/// }
/// ```
pub fn child_hook(registry: &RegistryBuilder) {
    // A registry with problems has no tasks to serve; whoever opens it is told what they are.
    if let Ok(registry) = registry.clone().build() {
        taskport_worker::child_hook(&registry);
    }
}
