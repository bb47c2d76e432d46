//! An inbox that is always empty: nobody else's transaction reaches the memory of this process.

use taskport_abstraction::{JobId, Result, Timestamp};
use taskport_engine::inbox::{InboxRecord, OutgoingRecord};
use taskport_engine::store::{ReadInbox, TakeInbox};

use crate::store::{MemoryReader, MemoryStore};

macro_rules! empty_inbox {
    ($($store:ty),+) => {
        $(impl ReadInbox for $store {
            fn inbox_job(&mut self, _: &JobId) -> Result<Option<InboxRecord>> {
                Ok(None)
            }

            fn outgoing(&mut self, _: i64, _: usize) -> Result<Vec<OutgoingRecord>> {
                Ok(Vec::new())
            }

            fn outgoing_due(&mut self, _: Timestamp) -> Result<bool> {
                Ok(false)
            }

            fn outgoing_counts(&mut self) -> Result<(u64, u64)> {
                Ok((0, 0))
            }
        })+
    };
}

empty_inbox!(MemoryStore, MemoryReader);

impl TakeInbox for MemoryStore {
    fn inbox_waits(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn inbox(&mut self, _: usize, _: usize) -> Result<Vec<InboxRecord>> {
        Ok(Vec::new())
    }

    fn delete_inbox_job(&mut self, _: i64) -> Result<()> {
        Ok(())
    }

    fn lease_outgoing(
        &mut self,
        _: Timestamp,
        _: Timestamp,
        _: usize,
        _: usize,
    ) -> Result<Vec<OutgoingRecord>> {
        Ok(Vec::new())
    }

    fn put_outgoing(&mut self, _: i64, _: Option<Timestamp>, _: Option<&str>) -> Result<bool> {
        Ok(false)
    }

    fn delete_outgoing(&mut self, _: i64) -> Result<bool> {
        Ok(false)
    }

    fn outgoing_seqs(&mut self, _: &JobId) -> Result<Vec<i64>> {
        Ok(Vec::new())
    }
}
