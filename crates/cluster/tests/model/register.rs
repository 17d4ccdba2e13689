//! Checks while a history grows whether it is linearizable so far.
//!
//! One key is one register. The monitor keeps every order in which the operations so far could have
//! taken effect (a *path*): the register's value then, which of the open writes have happened
//! already, and the values that each open read could have seen since it was called. When an
//! operation ends, the paths that disagree with its result are removed. When none is left, the
//! history is not linearizable. (Lowe, *Testing for Linearizability*, 2017, has the method.)
//!
//! The check is exact, and the state small: two histories that allow the same future are the same
//! value here, so a model need not distinguish them.

use std::collections::BTreeSet;

/// The register's value: 0 is none, also after a delete.
pub type Value = u8;

/// An operation's name.
pub type Id = u8;

/// An operation that has been called and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Open {
    id: Id,
    /// The value that it writes; `None` for a read.
    writes: Option<Value>,
    /// When it may happen.
    when: When,
    /// Its end will never be known.
    is_given_up: bool,
}

/// When a write may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum When {
    /// At any time.
    Always,
    /// Not yet: a read-modify-write that has not chosen.
    Never,
    /// While the register holds its base.
    After(Value),
}

/// One possible order of the operations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Path {
    value: Value,
    /// For each open operation: for a write, whether it has happened (1); for a read, the values
    /// that it could have seen (a bit each).
    states: Vec<u16>,
}

/// All paths that the history so far allows.
#[derive(Debug, Clone, Hash)]
pub struct Register {
    open: Vec<Open>,
    paths: BTreeSet<Path>,
}

impl Register {
    /// A register that holds a value, and no operations yet.
    pub fn new(value: Value) -> Register {
        let path = Path { value, states: Vec::new() };
        Register { open: Vec::new(), paths: BTreeSet::from([path]) }
    }

    /// Whether no order of the operations explains their results.
    pub fn is_broken(&self) -> bool {
        self.paths.is_empty()
    }

    /// A put (or delete) is called.
    pub fn call_write(&mut self, id: Id, value: Value) {
        self.call(Open { id, writes: Some(value), when: When::Always, is_given_up: false });
    }

    /// A read-modify-write is called that is to leave this value.
    pub fn call_update(&mut self, id: Id, value: Value) {
        self.call(Open { id, writes: Some(value), when: When::Never, is_given_up: false });
    }

    /// It has chosen to follow `base`, has certainly not happened yet, and can now happen in no
    /// other place.
    pub fn update_from(&mut self, id: Id, base: Value) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        self.open[at].when = When::After(base);
        for path in std::mem::take(&mut self.paths) {
            if path.states[at] == 0 {
                self.extend(path);
            }
        }
    }

    /// A get is called.
    pub fn call_read(&mut self, id: Id) {
        self.call(Open { id, writes: None, when: When::Always, is_given_up: false });
    }

    fn call(&mut self, open: Open) {
        let at = self.open.partition_point(|other| other.id < open.id);
        let is_read = open.writes.is_none();
        self.open.insert(at, open);
        let paths = std::mem::take(&mut self.paths);
        for mut path in paths {
            path.states.insert(at, if is_read { 1 << path.value } else { 0 });
            self.extend(path);
        }
    }

    /// Adds a path, and all that follow from it when open writes happen.
    fn extend(&mut self, path: Path) {
        if !self.paths.insert(path.clone()) {
            return;
        }
        for (i, open) in self.open.clone().iter().enumerate() {
            let (Some(value), 0) = (open.writes, path.states[i]) else { continue };
            if open.when == When::Never
                || matches!(open.when, When::After(base) if base != path.value)
            {
                continue;
            }
            let mut next = Path { value, ..path.clone() };
            next.states[i] = 1;
            for (state, other) in next.states.iter_mut().zip(&self.open) {
                if other.writes.is_none() {
                    *state |= 1 << value;
                }
            }
            self.extend(next);
        }
    }

    /// A write has taken effect.
    pub fn end_write(&mut self, id: Id) {
        self.end(id, |state| state == 1);
    }

    /// A write has certainly not taken effect, and never will.
    pub fn refuse_write(&mut self, id: Id) {
        self.end(id, |state| state == 0);
    }

    /// A get has found a value.
    pub fn end_read(&mut self, id: Id, value: Value) {
        self.end(id, |state| state >> value & 1 == 1);
    }

    /// An operation's end will never be known: a write may still happen at any time.
    pub fn give_up(&mut self, id: Id) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        if self.open[at].writes.is_none() {
            return self.end(id, |_| true);
        }
        self.open[at].is_given_up = true;
        self.tidy();
    }

    fn end(&mut self, id: Id, agrees: impl Fn(u16) -> bool) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        self.remove(at, agrees);
        self.tidy();
    }

    fn remove(&mut self, at: usize, agrees: impl Fn(u16) -> bool) {
        self.open.remove(at);
        let paths = std::mem::take(&mut self.paths);
        self.paths = paths
            .into_iter()
            .filter(|path| agrees(path.states[at]))
            .map(|mut path| {
                path.states.remove(at);
                path
            })
            .collect();
    }

    /// Forgets writes that have happened on every path and whose end will never be known.
    fn tidy(&mut self) {
        while let Some(at) = (0..self.open.len()).find(|&at| {
            self.open[at].is_given_up && self.paths.iter().all(|path| path.states[at] == 1)
        }) {
            self.remove(at, |_| true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_read_may_not_see_the_past() {
        let mut register = Register::new(0);
        register.call_write(1, 5);
        register.call_read(2);
        register.end_read(2, 5);
        register.call_read(3);
        let mut stale = register.clone();
        stale.end_read(3, 0);
        assert!(stale.is_broken(), "5 was seen before");
        register.end_read(3, 5);
        register.end_write(1);
        assert!(!register.is_broken());
    }

    #[test]
    fn overlapping_writes_may_be_seen_in_either_order() {
        for (first, second, is_broken) in [(0, 5, false), (5, 5, false), (0, 0, true)] {
            let mut register = Register::new(0);
            register.call_read(2);
            register.call_write(1, 5);
            register.end_write(1);
            register.call_read(3);
            register.end_read(2, first);
            register.end_read(3, second);
            assert_eq!(register.is_broken(), is_broken, "{first} and {second}");
        }
    }

    #[test]
    fn a_write_takes_effect_once() {
        let mut register = Register::new(0);
        register.call_write(1, 5);
        register.give_up(1);
        for (id, value) in [(2, 5), (3, 6), (4, 5)] {
            if value == 6 {
                register.call_write(id, 6);
                register.end_write(id);
            } else {
                register.call_read(id);
                register.end_read(id, value);
            }
        }
        assert!(register.is_broken(), "5 came back");
    }

    #[test]
    fn of_two_updates_of_one_value_one_happens() {
        let mut register = Register::new(9);
        for (id, value) in [(1, 11), (2, 12)] {
            register.call_update(id, value);
            register.update_from(id, 9);
        }
        register.end_write(1);
        let mut both = register.clone();
        both.end_write(2);
        assert!(both.is_broken(), "an update was lost");
        // The second chooses again.
        register.update_from(2, 11);
        register.end_write(2);
        register.call_read(3);
        register.end_read(3, 12);
        assert!(!register.is_broken());
    }

    #[test]
    fn a_refused_write_is_never_seen() {
        let mut register = Register::new(0);
        register.call_write(1, 5);
        register.call_read(2);
        register.end_read(2, 5);
        register.refuse_write(1);
        assert!(register.is_broken());
    }
}
