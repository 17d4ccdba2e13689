//! What clients did to one key and when, and whether it can have been so.
//!
//! Not a proof of linearizability, but the rules that people notice when they are broken: a get sees
//! no value that was overwritten before the get began, none that was not put yet, and what is left in
//! the end is the value of a last put.

use std::time::Instant;

use parking_lot::Mutex;

/// One operation on the key: what was written or read, from when to when.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The value; puts never repeat one. `None`: the key had no value.
    pub value: Option<Vec<u8>>,
    /// Before it began.
    pub start: Instant,
    /// After it was acknowledged.
    pub end: Instant,
}

/// All that happened to one key, collected by many threads.
#[derive(Debug, Default)]
pub struct History {
    puts: Mutex<Vec<Seen>>,
    gets: Mutex<Vec<Seen>>,
}

impl History {
    /// Runs a put of `value` and notes it.
    pub fn put(&self, value: Vec<u8>, run: impl FnOnce(&[u8])) {
        let start = Instant::now();
        run(&value);
        self.puts.lock().push(Seen { value: Some(value), start, end: Instant::now() });
    }

    /// Runs a get and notes what it returned.
    pub fn get(&self, run: impl FnOnce() -> Option<Vec<u8>>) {
        let start = Instant::now();
        let value = run();
        self.gets.lock().push(Seen { value, start, end: Instant::now() });
    }

    /// Holds every get against the puts.
    ///
    /// # Panics
    /// With the first get that cannot have been.
    pub fn check(&self) {
        let puts = self.puts.lock();
        for get in self.gets.lock().iter() {
            let overwritten_by = match &get.value {
                None => puts.iter().find(|later| later.end < get.start),
                Some(value) => {
                    let put = puts.iter().find(|put| put.value.as_ref() == Some(value));
                    let put = put.unwrap_or_else(|| panic!("{get:?} was never put"));
                    assert!(put.start < get.end, "{get:?} was read before {put:?}");
                    puts.iter().find(|later| later.start > put.end && later.end < get.start)
                }
            };
            assert!(overwritten_by.is_none(), "stale: {get:?} after {overwritten_by:?}");
        }
    }
}
