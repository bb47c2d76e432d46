//! The job state machine.
use taskport_abstraction::backend::QueueOrder;
use taskport_abstraction::options::Priority;

/// The place in line of the job `seq`: the smallest goes first.
pub fn position(order: QueueOrder, priority: Priority, seq: i64) -> i64 {
    match order {
        QueueOrder::Priority => (i64::from(9 - priority.level()) << 56) | seq,
        QueueOrder::Fifo => seq,
        QueueOrder::Lifo => -seq,
    }
}
