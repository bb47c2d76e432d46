//! What goes wrong in one process's next transaction.

use taskport_abstraction::{Error, codes};

/// A fault that is set up for the next transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another process holds the store.
    Busy,
    /// The `nth` verb fails: before it has done anything, or after it has done it.
    Verb { nth: u32, done: bool },
    /// The commit fails, and is known to have failed.
    CommitRefused,
    /// The answer of the commit is lost; the commit happened or it did not.
    CommitLost { applied: bool },
}

/// The faults of one process, shared by its store and by whoever sets them up.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    fault: Option<Fault>,
    verbs: u32,
    struck: bool,
    applied: bool,
}

/// What a verb is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    Go,
    FailFirst,
    FailAfter,
}

impl Faults {
    /// Sets up the next transaction.
    pub(crate) fn arm(&mut self, fault: Option<Fault>) {
        *self = Self { fault, ..Self::default() };
    }

    /// Whether the fault has happened.
    pub(crate) fn struck(&self) -> bool {
        self.struck
    }

    /// Whether the store has taken the transaction, whatever its owner was told.
    pub(crate) fn applied(&self) -> bool {
        self.applied
    }

    pub(crate) fn begins(&mut self) -> Option<Error> {
        let busy = self.fault == Some(Fault::Busy);
        self.struck |= busy;
        busy.then(|| Error::new(&codes::STORE_BUSY, "begin", "another process holds the simulated store"))
    }

    pub(crate) fn next_verb(&mut self) -> Course {
        self.verbs += 1;
        match self.fault {
            Some(Fault::Verb { nth, done }) if nth == self.verbs => {
                self.struck = true;
                if done { Course::FailAfter } else { Course::FailFirst }
            }
            _ => Course::Go,
        }
    }

    /// Whether the commit is to happen, and what is to be answered.
    pub(crate) fn commits(&mut self) -> (bool, Option<Error>) {
        let (applied, error) = match self.fault {
            Some(Fault::CommitRefused) => (false, Some(broken("commit"))),
            Some(Fault::CommitLost { applied }) => (applied, Some(broken("commit").maybe_applied())),
            _ => (true, None),
        };
        self.struck |= error.is_some();
        self.applied = applied;
        (applied, error)
    }
}

pub(crate) fn broken(operation: &'static str) -> Error {
    Error::new(&codes::STORE_IO, operation, "the simulated store broke")
}
