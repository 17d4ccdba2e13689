//! The thread that saves, so that the owner of the membership goes on meanwhile.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use cluster::membership::Saved;
use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;
use net_common::logging;

use crate::state::{StateError, StateFile};

/// The thread that saves, one state after the other.
pub(crate) struct Saver {
    /// At most one state is on its way, and when stopping a last one behind it: sending never waits.
    pub(crate) states: Sender<Saved>,
    pub(crate) done: Receiver<Result<(), StateError>>,
    thread: JoinHandle<()>,
}

impl Saver {
    pub(crate) fn start(file: Option<Arc<StateFile>>) -> io::Result<Saver> {
        let (states, queue) = bounded::<Saved>(1);
        // Room for the answers to both, so that it never waits for an owner that is stopping.
        let (answer, done) = bounded(2);
        let thread = logging::spawn("manager saver".into(), move || {
            for state in queue {
                let result = file.as_ref().map_or(Ok(()), |file| file.save(&state));
                // Nobody listens any more when the manager is stopping.
                let _ = answer.send(result);
            }
        })?;
        Ok(Saver { states, done, thread })
    }

    /// Waits for what is under way, saves a last state after it if there is one, and ends the thread.
    pub(crate) fn stop(self, last: Option<Saved>) {
        if let Some(last) = last {
            // It is gone only if it panicked, which has been reported.
            let _ = self.states.send(last);
        }
        drop(self.states);
        let _ = self.thread.join();
        for error in self.done.try_iter().filter_map(Result::err) {
            error!("{error}");
        }
    }
}
