//! The thread that saves, so that the monitor thread continues meanwhile.

use std::io;
use std::sync::Arc;

use cluster::membership::Saved;
use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;
use net_common::worker::Worker;

use crate::state::{StateError, StateFile};

/// The thread that saves, one state after the other.
pub(crate) struct Saver {
    // The order matters: the thread exits once the queue is closed and the last state is saved.
    /// At most one state is on its way, and when stopping a last one behind it: sending never
    /// waits.
    states: Sender<Saved>,
    done: Receiver<Result<(), StateError>>,
    worker: Worker,
}

impl Saver {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub(crate) fn start(file: Option<Arc<StateFile>>) -> io::Result<Saver> {
        let (states, queue) = bounded::<Saved>(1);
        // Capacity for both results, so that it never waits for a monitor thread that is stopping.
        let (answer, done) = bounded(2);
        let worker = Worker::spawn("manager saver".into(), move |_| {
            for state in queue {
                let result = file.as_ref().map_or(Ok(()), |file| file.save(&state));
                // The receiver is gone when the manager is stopping.
                let _ = answer.send(result);
            }
        })?;
        Ok(Saver { states, done, worker })
    }

    /// Saves a state. To be called only after [`Saver::done`] has returned the previous result.
    pub(crate) fn save(&self, state: Saved) {
        // If the thread has panicked, its results channel is closed too, and the monitor thread
        // stops.
        let _ = self.states.send(state);
    }

    /// The result of each save. The channel closes only if the thread has panicked.
    pub(crate) fn done(&self) -> &Receiver<Result<(), StateError>> {
        &self.done
    }

    /// Waits for the save under way, then saves a last state, if any, and stops the thread.
    pub(crate) fn stop(self, last: Option<Saved>) {
        if let Some(last) = last {
            self.save(last);
        }
        let Saver { states, done, worker } = self;
        drop(states);
        drop(worker);
        for error in done.try_iter().filter_map(Result::err) {
            error!("{error}");
        }
    }
}
