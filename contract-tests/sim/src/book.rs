//! A map whose changes since the last commit can be taken back, as those of the store can.

use std::collections::BTreeMap;

/// A map with an undo log.
#[derive(Debug)]
pub(crate) struct Book<K, V> {
    rows: BTreeMap<K, V>,
    undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Book<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), undo: Vec::new() }
    }
}

impl<K: Ord + Clone, V: Clone> Book<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        let before = self.rows.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(before) = self.rows.remove(key) {
            self.undo.push((key.clone(), Some(before)));
        }
    }

    /// Changes a value that is there.
    pub(crate) fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        if let Some(value) = self.rows.get_mut(key) {
            self.undo.push((key.clone(), Some(value.clone())));
            change(value);
        }
    }

    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    pub(crate) fn rollback(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_takes_back_every_change_since_the_commit() {
        let mut book = Book::default();
        book.put("a", 1);
        book.put("b", 2);
        book.commit();
        book.change(&"a", |value| *value += 10);
        book.put("a", 20);
        book.remove(&"b");
        book.put("c", 3);
        book.rollback();
        assert_eq!(book.iter().collect::<Vec<_>>(), [(&"a", &1), (&"b", &2)]);
    }
}
