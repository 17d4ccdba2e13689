//! Word that something was written, for the thread that logs snapshots.

use crossbeam_channel::{Receiver, Sender, bounded};

/// Notes that may wait. More are not needed: one that waits already says "something was written".
const NOTES: usize = 1024;

/// Where requests leave their notes.
#[derive(Clone)]
pub struct Notes(Sender<u32>);

impl Notes {
    /// A way to leave notes, and where they come out. Where nobody takes them they come to nothing.
    pub fn channel() -> (Notes, Receiver<u32>) {
        let (notes, noted) = bounded(NOTES);
        (Notes(notes), noted)
    }

    /// Notes that records were written. Never waits: a full channel means that the writer knows.
    pub fn wrote(&self, records: u32) {
        let _ = self.0.try_send(records);
    }
}
