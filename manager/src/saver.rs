//! The thread that saves, so that the owner of the membership goes on meanwhile.

use std::io;
use std::sync::Arc;

use cluster::membership::Saved;
use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;
use net_common::worker::Worker;

use crate::state::{StateError, StateFile};

/// The thread that saves, one state after the other.
pub(crate) struct Saver {
    // In this order: the thread ends when it has saved what is on its way, and nobody can send
    // more.
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
        // Room for the answers to both, so that it never waits for an owner that is stopping.
        let (answer, done) = bounded(2);
        let worker = Worker::spawn("manager saver".into(), move |_| {
            for state in queue {
                let result = file.as_ref().map_or(Ok(()), |file| file.save(&state));
                // Nobody listens any more when the manager is stopping.
                let _ = answer.send(result);
            }
        })?;
        Ok(Saver { states, done, worker })
    }

    /// Has a state saved. Not before [`Saver::done`] has told of the one before.
    pub(crate) fn save(&self, state: Saved) {
        // If the thread has panicked its channel of results has ended too, and so does the owner.
        let _ = self.states.send(state);
    }

    /// Tells what came of each save. It ends only if the thread has panicked.
    pub(crate) fn done(&self) -> &Receiver<Result<(), StateError>> {
        &self.done
    }

    /// Waits for what is under way, saves a last state after it if there is one, and ends the
    /// thread.
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
