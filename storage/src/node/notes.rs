//! Notes that something was written, for the thread that logs snapshots.

use crossbeam_channel::{Receiver, Sender, bounded};

/// Notes that may wait. More are not needed: a single one already means "something was written".
const NOTES: usize = 1024;

/// The sending side, for requests.
#[derive(Clone)]
pub struct Notes(Sender<u32>);

impl Notes {
    /// Both sides of the channel. Notes that nobody receives are discarded.
    pub fn channel() -> (Notes, Receiver<u32>) {
        let (notes, noted) = bounded(NOTES);
        (Notes(notes), noted)
    }

    /// Notes that records were written. Never waits: with a full channel the thread knows already.
    pub fn wrote(&self, records: u32) {
        let _ = self.0.try_send(records);
    }
}
