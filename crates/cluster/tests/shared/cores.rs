//! Work that is cut into independent pieces, on every core.
//!
//! Results are reported in the order of the work, so the output is the same on every machine. Each
//! piece runs in one thread from beginning to end, so a mutation that is switched on in a thread
//! affects only that piece.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, mpsc};
use std::thread;

/// Runs every piece and reports each result, until `report` breaks.
pub fn on_all_cores<T: Send, R: Send>(
    work: impl Iterator<Item = T> + Send,
    run: impl Fn(T) -> R + Sync,
    mut report: impl FnMut(R) -> ControlFlow<()>,
) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let work = Mutex::new(work.enumerate());
    let (done, results) = mpsc::sync_channel(cores);
    let worker = |done: mpsc::SyncSender<(usize, R)>| {
        loop {
            let next = work.lock().expect("nothing panics that holds it").next();
            let Some((number, piece)) = next else { return };
            if done.send((number, run(piece))).is_err() {
                // The receiver has stopped.
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..cores {
            let done = done.clone();
            scope.spawn(|| worker(done));
        }
        drop(done);
        let mut early = BTreeMap::new();
        let mut next = 0;
        for (number, result) in results {
            early.insert(number, result);
            while let Some(result) = early.remove(&next) {
                next += 1;
                if report(result).is_break() {
                    return;
                }
            }
        }
    });
}
