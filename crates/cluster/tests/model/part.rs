//! A part of a state, shared by all states in which it is the same.
//!
//! A step of the cluster changes one node, or one client and the frames under way; the rest stays.
//! A state therefore holds its parts by reference, each with its fingerprint: copying a state
//! copies a dozen references, and comparing two states compares a dozen numbers.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// A fingerprint of 64 bits. The same in every run: the hasher has no random key.
pub fn fingerprint(value: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(value)
}

/// A value that is copied only when it changes.
#[derive(Debug)]
pub struct Part<T>(Rc<(T, u64)>);

impl<T: Clone + Hash> Part<T> {
    /// A part of its own.
    pub fn new(value: T) -> Part<T> {
        let print = fingerprint(&value);
        Part(Rc::new((value, print)))
    }

    /// Changes a copy of the value, which from now on is the value here.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.0.0.clone();
        let result = change(&mut value);
        *self = Part::new(value);
        result
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Part<T> {
        Part(Rc::clone(&self.0))
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T> Hash for Part<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0.1);
    }
}
