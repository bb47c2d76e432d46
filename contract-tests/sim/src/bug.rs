//! Defects that can be planted in the store, to see that the simulation finds them.

/// A defect of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A success counts under whatever lease.
    TokenNotChecked,
    /// A job that has succeeded succeeds again.
    SucceedsTwice,
    /// Now and then an insert is answered and not done.
    InsertLost,
    /// Now and then a commit is answered and not done.
    CommitLost,
    /// A transaction that comes to nothing is kept.
    RollbackForgotten,
    /// Now and then a running job is leased again in the place of one that waits.
    LeasedTwice,
    /// A retried submit under a key finds nothing.
    KeyLost,
    /// Jobs start some seconds before their time.
    Early,
    /// A lease that lapsed is never found.
    LapseMissed,
    /// Waiting jobs keep their place when the order changes.
    OrderKept,
    /// The last row of several steps is not written.
    StepLost,
    /// No process hears of what another one commits.
    Unheard,
    /// A queue's account is off by one now and then.
    Miscounted,
    /// A cancel that reaches a running job is not kept.
    CancelLost,
    /// Progress is kept but the lease is not extended.
    ExtensionLost,
    /// A purged or deleted job stays.
    DeleteLost,
    /// A gate forgets who has passed it.
    GateForgets,
}

impl Bug {
    /// Every defect.
    pub const ALL: [Self; 17] = [
        Self::TokenNotChecked,
        Self::SucceedsTwice,
        Self::InsertLost,
        Self::CommitLost,
        Self::RollbackForgotten,
        Self::LeasedTwice,
        Self::KeyLost,
        Self::Early,
        Self::LapseMissed,
        Self::OrderKept,
        Self::StepLost,
        Self::Unheard,
        Self::Miscounted,
        Self::CancelLost,
        Self::ExtensionLost,
        Self::DeleteLost,
        Self::GateForgets,
    ];
}
