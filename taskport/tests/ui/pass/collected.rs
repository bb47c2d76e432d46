//! Every task that is linked into a program is collected, wherever it is declared.

use taskport::{Registry, task};

mod inner {
    #[taskport::task(name = "inner.first")]
    fn first() {}

    pub(crate) fn declares_inside() {
        #[taskport::task(remote)]
        async fn second();
    }
}

#[task]
fn third() {}

#[cfg(any())]
#[task]
fn left_out() {}

fn main() {
    inner::declares_inside();
    let registry = Registry::collected().build().unwrap();
    let names: Vec<_> = registry.tasks().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["inner.first", "second", "third"]);
}
