//! The gates in use, remembered between transactions and written once in each.

use std::collections::HashMap;
use std::time::Duration;

use taskport_abstraction::{Result, Timestamp};

use super::bucket;
use crate::engine::Engine;
use crate::record::{GateKind, GateName, GateRecord};
use crate::store::Store;

/// How many gates the engine remembers.
const GATES_MAX: usize = 50_000;
/// How often idle gates are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How many gates one transaction looks at.
const SWEEP_PAGE_LEN: usize = 256;

/// The gates in use.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    entries: HashMap<GateName, Entry>,
    dirty: Vec<GateName>,
    id_next: Option<i64>,
    sweep: Sweep,
}

#[derive(Debug)]
struct Entry {
    record: GateRecord,
    /// Whether the store has it.
    exists: bool,
    /// Whether the store's row differs.
    dirty: bool,
}

/// The walk over all gates that deletes those nobody needs.
#[derive(Debug, Default)]
struct Sweep {
    /// The id it has come to, while it walks.
    at: Option<i64>,
    next: Option<Timestamp>,
}

impl Gates {
    /// Forgets every gate, since another connection may have changed them.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
        self.dirty.clear();
        self.id_next = None;
    }
}

impl<S: Store> Engine<S> {
    /// A gate as it will be after the transaction, made up where there is none.
    pub(crate) fn gate(&mut self, name: &GateName) -> Result<&GateRecord> {
        if !self.gates.entries.contains_key(name) {
            let (record, exists) = match self.store.gate(name)? {
                Some(record) => (record, true),
                None => (GateRecord::new(self.new_gate_id()?, name.clone()), false),
            };
            let gates = &mut self.gates;
            if gates.entries.len() >= GATES_MAX {
                gates.entries.retain(|_, entry| entry.dirty);
            }
            gates.entries.insert(name.clone(), Entry { record, exists, dirty: false });
        }
        Ok(&self.gates.entries[name].record)
    }

    /// Changes a gate.
    pub(crate) fn change_gate<T>(
        &mut self,
        name: &GateName,
        change: impl FnOnce(&mut GateRecord) -> T,
    ) -> Result<T> {
        self.gate(name)?;
        let Gates { entries, dirty, .. } = &mut self.gates;
        let entry = entries.get_mut(name).expect("it was just put there");
        if !entry.dirty {
            entry.dirty = true;
            dirty.push(name.clone());
        }
        Ok(change(&mut entry.record))
    }

    fn new_gate_id(&mut self) -> Result<i64> {
        let id = match self.gates.id_next {
            Some(id) => id,
            None => self.store.gate_id_max()? + 1,
        };
        self.gates.id_next = Some(id + 1);
        Ok(id)
    }

    /// Writes every gate's row that differs. One that came and went in this transaction leaves no row.
    pub(crate) fn flush_gates(&mut self, now: Timestamp) -> Result<()> {
        for name in std::mem::take(&mut self.gates.dirty) {
            let Some(entry) = self.gates.entries.get_mut(&name) else { continue };
            entry.dirty = false;
            if !entry.exists && is_idle(&entry.record, None, now) {
                self.gates.entries.remove(&name);
                continue;
            }
            entry.exists = true;
            self.store.put_gate(&entry.record)?;
        }
        Ok(())
    }

    /// Deletes some of the gates nobody needs, so that a new key for every job does not make the store grow.
    pub(crate) fn sweep_gates(&mut self, now: Timestamp) -> Result<()> {
        let next = *self.gates.sweep.next.get_or_insert(now + SWEEP_EVERY);
        if now < next {
            return Ok(());
        }
        let after = self.gates.sweep.at.unwrap_or(i64::MIN);
        let page = self.store.gates(after, SWEEP_PAGE_LEN)?;
        for gate in &page {
            let virtual_time = match &gate.name.queue {
                Some(queue) => Some(self.queue(queue)?.record.pace.virtual_time),
                None => None,
            };
            if is_idle(gate, virtual_time, now) {
                self.store.delete_gate(gate.id)?;
                self.gates.entries.remove(&gate.name);
            }
        }
        let sweep = &mut self.gates.sweep;
        sweep.at = page.last().filter(|_| page.len() == SWEEP_PAGE_LEN).map(|gate| gate.id);
        if sweep.at.is_none() {
            sweep.next = Some(now + SWEEP_EVERY);
        }
        Ok(())
    }
}

/// Whether a gate says no more than one that does not exist. A share needs to be compared with its queue.
fn is_idle(gate: &GateRecord, virtual_time: Option<i64>, now: Timestamp) -> bool {
    let is_spent = match gate.name.kind {
        GateKind::Share => virtual_time.is_some_and(|time| gate.mark <= time),
        GateKind::Slots => true,
        GateKind::Tokens => bucket::is_full(gate.mark, now),
    };
    is_spent && gate.inside == 0 && gate.held == 0
}
