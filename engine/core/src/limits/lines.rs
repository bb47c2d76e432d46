//! The lines of ordering keys.
//!
//! A line has no row: it is the jobs that have a place in it, and the store finds them by their key. What is remembered
//! here saves asking for what the transactions of this process have done themselves.

use std::collections::HashMap;
use std::sync::Arc;

use taskport_abstraction::Result;

use super::Standing;
use crate::record::{JobRecord, LinePlace};
use crate::store::Store;
use crate::transaction::Transaction;

/// How many lines the engine remembers.
const LINES_MAX: usize = 50_000;

/// The lines in use.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    entries: HashMap<Arc<str>, Line>,
}

/// What is known of a line.
#[derive(Debug)]
struct Line {
    /// Whether one of its jobs is anything but held back.
    has_head: bool,
    /// How many it holds back; `None` says that nobody has counted them.
    held: Option<u64>,
}

impl Lines {
    /// Forgets every line, since another connection may have changed them.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
    }

    /// Lets a line be known, which later moves keep up to date. `waits` is what the store says of its last job.
    fn learn(&mut self, key: &Arc<str>, waits: Option<bool>) {
        if self.entries.len() >= LINES_MAX {
            self.forget();
        }
        let line = Line { has_head: waits.is_some(), held: (waits != Some(true)).then_some(0) };
        self.entries.insert(key.clone(), line);
    }
}

impl Standing {
    /// Whether it keeps those behind it in its line back, where it has one.
    fn heads_line(self) -> bool {
        self.is_live() && !self.is_in_line()
    }
}

impl<S: Store> Transaction<'_, S> {
    /// Gives a job the last place in a line. `true` says that there are others before it.
    pub(super) fn line_up(&mut self, job: &mut JobRecord, key: &Arc<str>) -> Result<bool> {
        if job.state.is_terminal() {
            return Ok(false);
        }
        job.line = Some(LinePlace { key: key.clone(), place: self.seq()? });
        if let Some(line) = self.engine.lines.entries.get(key) {
            return Ok(line.has_head);
        }
        let waits = self.store(|store| store.line_waits(key))?;
        self.engine.lines.learn(key, waits);
        Ok(waits.is_some())
    }

    /// Enters a move of a job, which is written, into its line, and lets the next one go on where it has left the head.
    pub(super) fn shift_line(&mut self, key: &Arc<str>, from: Standing, to: Standing) -> Result<()> {
        let (was_head, is_head) = (from.heads_line(), to.heads_line());
        let mut known = self.engine.lines.entries.get_mut(key);
        if let Some(line) = &mut known {
            let holds = |standing: Standing| u64::from(standing.is_in_line());
            line.held = line.held.map(|held| (held + holds(to)).saturating_sub(holds(from)));
            if was_head != is_head {
                debug_assert_eq!(line.has_head, was_head, "a line has one head");
                line.has_head = is_head;
            }
        }
        let has_left = was_head && !is_head;
        if !has_left || known.is_some_and(|line| line.held == Some(0)) {
            return Ok(());
        }
        if let Some(next) = self.store(|store| store.next_in_line(key))? {
            return self.free(next);
        }
        if let Some(line) = self.engine.lines.entries.get_mut(key) {
            line.held = Some(0);
        }
        Ok(())
    }
}
