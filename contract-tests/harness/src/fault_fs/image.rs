//! The contents: what programs see, what the disk is sure to have, and what lies between.

use std::collections::{BTreeMap, HashMap};

use fastrand::Rng;

/// What a disk writes at once or not at all.
const SECTOR_BYTES: usize = 512;

/// A kind of call that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Waiting for the disk.
    Sync,
    /// Changing the length of a file.
    Truncate,
    /// Making, removing or renaming a file.
    Name,
}

impl Op {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Sync, Self::Truncate, Self::Name];
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errno {
    /// The disk failed.
    Io,
    /// The disk is full.
    NoSpace,
    /// The file is too large.
    TooLarge,
}

/// Which calls are to fail.
#[derive(Debug, Clone, Copy)]
pub struct Injection {
    /// Only calls of this kind; left out, of any.
    pub op: Option<Op>,
    /// The first that fails, counted from 1 from when this was set.
    pub nth: u64,
    /// How many fail.
    pub count: u64,
    /// How.
    pub errno: Errno,
}

/// A directory of files.
#[derive(Debug, Default)]
pub struct Image {
    names: BTreeMap<String, u64>,
    /// What the directory is sure to hold.
    durable_names: BTreeMap<String, u64>,
    nodes: HashMap<u64, Node>,
    last_node: u64,
    frozen: bool,
    injection: Option<Injection>,
    seen: u64,
    failed: u64,
    calls: BTreeMap<Op, u64>,
}

#[derive(Debug, Default)]
struct Node {
    data: Vec<u8>,
    /// What the disk is sure to have.
    durable: Vec<u8>,
    /// What was done since, in order.
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write_at(data, *at, bytes),
            Self::Length(len) => data.resize(*len, 0),
        }
    }
}

fn write_at(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[at..end].copy_from_slice(bytes);
}

impl Image {
    /// Has calls fail from now on.
    pub fn inject(&mut self, injection: Injection) {
        self.injection = Some(injection);
        self.seen = 0;
        self.failed = 0;
    }

    /// Has no more calls fail.
    pub fn heal(&mut self) {
        self.injection = None;
    }

    /// How many calls failed since the last [`inject`](Self::inject).
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// How many calls of each kind there were since the file system was mounted.
    pub fn calls(&self) -> &BTreeMap<Op, u64> {
        &self.calls
    }

    /// From now on every call fails: the power is off.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Counts a call and says whether it fails.
    ///
    /// # Errors
    /// The error it is to fail with.
    pub fn admit(&mut self, op: Op) -> Result<(), Errno> {
        if self.frozen {
            return Err(Errno::Io);
        }
        *self.calls.entry(op).or_default() += 1;
        let Some(injection) = self.injection.filter(|injection| injection.op.is_none_or(|only| only == op))
        else {
            return Ok(());
        };
        self.seen += 1;
        if (injection.nth..injection.nth + injection.count).contains(&self.seen) {
            self.failed += 1;
            return Err(injection.errno);
        }
        Ok(())
    }

    /// The file of this name.
    pub fn find(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    /// Whether programs map a file into their memory: SQLite's index of the log.
    pub fn is_mapped(&self, node: u64) -> bool {
        self.names.iter().any(|(name, number)| *number == node && name.ends_with("-shm"))
    }

    /// The files, by name.
    pub fn names(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names.iter().map(|(name, node)| (name.as_str(), *node))
    }

    /// How long a file is.
    pub fn len(&self, node: u64) -> Option<usize> {
        self.nodes.get(&node).map(|node| node.data.len())
    }

    /// Makes an empty file, or gives the one that is there.
    pub fn create(&mut self, name: &str) -> u64 {
        if let Some(node) = self.find(name) {
            return node;
        }
        self.last_node += 1;
        self.nodes.insert(self.last_node, Node::default());
        self.names.insert(name.to_owned(), self.last_node);
        self.last_node
    }

    /// Removes a name. Whoever has the file open keeps it.
    pub fn unlink(&mut self, name: &str) -> bool {
        self.names.remove(name).is_some()
    }

    /// Gives a file another name.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(node) = self.names.remove(from) else { return false };
        self.names.insert(to.to_owned(), node);
        true
    }

    /// At most `len` bytes from `at` on.
    pub fn read(&self, node: u64, at: usize, len: usize) -> Option<&[u8]> {
        let data = &self.nodes.get(&node)?.data;
        let from = at.min(data.len());
        Some(&data[from..(at + len).min(data.len()).max(from)])
    }

    /// Writes, for programs to see; the disk may have it or not.
    pub fn write(&mut self, node: u64, at: usize, bytes: &[u8]) -> bool {
        self.change(node, Change::Write { at, bytes: bytes.to_vec() })
    }

    /// Changes the length, for programs to see; the disk may have it or not.
    pub fn set_len(&mut self, node: u64, len: usize) -> bool {
        self.change(node, Change::Length(len))
    }

    fn change(&mut self, node: u64, change: Change) -> bool {
        let Some(node) = self.nodes.get_mut(&node) else { return false };
        change.apply(&mut node.data);
        node.pending.push(change);
        true
    }

    /// Makes sure that the disk has all of a file. Its name is another matter: see [`sync_names`](Self::sync_names).
    pub fn sync(&mut self, node: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&node) else { return false };
        for change in node.pending.drain(..) {
            change.apply(&mut node.durable);
        }
        true
    }

    /// Makes sure that the disk has the names of the directory.
    pub fn sync_names(&mut self) {
        self.durable_names.clone_from(&self.names);
    }

    /// What a power cut at this moment leaves: all that was synced, and of the rest whatever chance will have, down to
    /// parts of a write.
    pub fn after_power_cut(&self, rng: &mut Rng) -> Self {
        let mut left = Self { last_node: self.last_node, ..Self::default() };
        let luck = Luck::draw(rng);
        let mut names = self.durable_names.clone();
        if rng.bool() {
            // The directory itself had come to the disk.
            names.clone_from(&self.names);
        }
        for (name, number) in names {
            let Some(node) = self.nodes.get(&number) else { continue };
            let mut data = node.durable.clone();
            let until = rng.usize(0..=node.pending.len());
            for (index, change) in node.pending.iter().enumerate() {
                match luck {
                    Luck::Nothing => {}
                    Luck::Prefix if index < until => change.apply(&mut data),
                    Luck::Prefix => {}
                    Luck::Some => tear(change, &mut data, rng),
                    Luck::Everything => change.apply(&mut data),
                }
            }
            left.nodes.insert(number, Node { durable: data.clone(), data, pending: Vec::new() });
            left.names.insert(name, number);
        }
        left.sync_names();
        left
    }
}

/// What becomes of the writes that were not synced.
#[derive(Debug, Clone, Copy)]
enum Luck {
    /// The disk has none.
    Nothing,
    /// The disk took them in order and had come so far.
    Prefix,
    /// The disk took them in any order, and some in part.
    Some,
    /// The disk has all.
    Everything,
}

impl Luck {
    fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..8) {
            0..2 => Self::Nothing,
            2..4 => Self::Prefix,
            4..7 => Self::Some,
            _ => Self::Everything,
        }
    }
}

/// Applies a change as a whole, in part, or not at all.
fn tear(change: &Change, data: &mut Vec<u8>, rng: &mut Rng) {
    match change {
        Change::Write { at, bytes } => {
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if rng.bool() {
                    write_at(data, at + index * SECTOR_BYTES, sector);
                }
            }
        }
        length @ Change::Length(_) if rng.bool() => length.apply(data),
        Change::Length(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_every_cut_and_the_rest_may_not() {
        let mut image = Image::default();
        let node = image.create("a");
        image.sync_names();
        image.write(node, 0, &[1; 4_096]);
        image.sync(node);
        image.write(node, 4_096, &[2; 4_096]);
        let (mut gone, mut torn, mut whole) = (0, 0, 0);
        for seed in 0..200 {
            let left = image.after_power_cut(&mut Rng::with_seed(seed));
            let node = left.find("a").unwrap();
            let data = left.read(node, 0, 8_192).unwrap();
            assert_eq!(&data[..4_096], &[1; 4_096]);
            match data[4_096..].iter().filter(|byte| **byte == 2).count() {
                0 => gone += 1,
                4_096 => whole += 1,
                _ => torn += 1,
            }
        }
        assert!(gone > 0 && torn > 0 && whole > 0, "{gone} {torn} {whole}");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_gone() {
        let mut image = Image::default();
        image.create("a");
        let found =
            (0..20).filter(|seed| image.after_power_cut(&mut Rng::with_seed(*seed)).find("a").is_some());
        assert!((1..20).contains(&found.count()));
    }

    #[test]
    fn the_chosen_calls_fail_and_no_others() {
        let mut image = Image::default();
        image.inject(Injection { op: Some(Op::Sync), nth: 2, count: 2, errno: Errno::NoSpace });
        let syncs: Vec<bool> = (0..5).map(|_| image.admit(Op::Sync).is_ok()).collect();
        assert_eq!(syncs, [true, false, false, true, true]);
        assert!(image.admit(Op::Write).is_ok());
        assert_eq!(image.failed(), 2);
        image.freeze();
        assert_eq!(image.admit(Op::Read), Err(Errno::Io));
    }
}
