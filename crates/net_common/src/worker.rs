//! A thread with an end: it is told to stop, and waited for, by whoever owns it.
//!
//! The two halves are a [`Worker`], which the owner keeps, and a [`Stop`], which the thread looks
//! at. A stop is no message but the end of a channel that never carries one: it cannot be missed,
//! it reaches everybody who has a clone, and it stays.
//!
//! A worker with a queue may end with that instead: its owner then drops the queue's sender before
//! the worker. Fields of a struct are dropped in their order, so the sender stands above the worker
//! there.

use std::convert::Infallible;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::logging;

/// A running thread. Stops when dropped.
#[derive(Debug)]
pub struct Worker {
    /// Dropped to tell the thread to stop. Nothing is ever sent.
    stop: Option<Sender<Infallible>>,
    /// Until it was waited for.
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that logs as `name`. It is to return soon when it is told to stop.
    ///
    /// # Errors
    /// If the operating system has no more threads to give.
    pub fn spawn(name: String, run: impl FnOnce(Stop) + Send + 'static) -> io::Result<Worker> {
        let (stop, stopped) = bounded(0);
        let thread = logging::spawn(name, move || run(Stop(stopped)))?;
        Ok(Worker { stop: Some(stop), thread: Some(thread) })
    }

    /// Tells the thread to stop, and does not wait for it: for an owner that has something else to
    /// end in between.
    pub fn request_stop(&mut self) {
        self.stop = None;
    }

    /// Tells the thread to stop, and waits until it has. Nothing where that was done before.
    pub fn stop(&mut self) {
        self.request_stop();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a thread learns that it is to stop. Clones are told together.
#[derive(Debug, Clone)]
pub struct Stop(Receiver<Infallible>);

impl Stop {
    /// Whether the thread is to stop.
    pub fn has_come(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Sleeps, until the stop comes at most. Returns whether it has come.
    pub fn wait(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    /// For `select!`: receives an error when the stop comes, and nothing before.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn it_is_told_and_waited_for() {
        let (say, said) = bounded(2);
        let mut worker = Worker::spawn("test".into(), move |stop| {
            say.send(stop.has_come()).unwrap();
            say.send(stop.wait(PATIENCE)).unwrap();
        })
        .unwrap();
        assert_eq!(said.recv_timeout(PATIENCE), Ok(false));
        assert!(said.try_recv().is_err(), "it works on");
        worker.stop();
        assert_eq!(said.try_recv(), Ok(true), "it has ended");
        worker.stop();
    }

    #[test]
    fn dropping_it_stops_it_and_its_helpers() {
        let (say, said) = bounded(2);
        let worker = Worker::spawn("test".into(), move |stop| {
            let (also, say_too) = (stop.clone(), say.clone());
            let _helper = Worker::spawn("helper".into(), move |_| {
                say_too.send(also.channel().recv().is_err()).unwrap();
            })
            .unwrap();
            say.send(stop.channel().recv().is_err()).unwrap();
        })
        .unwrap();
        drop(worker);
        assert_eq!(said.try_iter().collect::<Vec<_>>(), [true, true]);
    }

    #[test]
    fn a_wait_without_a_stop_ends() {
        let (say, said) = bounded(1);
        let _worker = Worker::spawn("test".into(), move |stop| {
            say.send(stop.wait(Duration::from_millis(1))).unwrap();
        })
        .unwrap();
        assert_eq!(said.recv_timeout(PATIENCE), Ok(false));
    }

    #[test]
    fn one_with_a_queue_works_off_what_waits_and_ends_with_it() {
        let (queue, jobs) = bounded(3);
        let (done, all) = bounded(3);
        let worker = Worker::spawn("test".into(), move |_| {
            jobs.iter().for_each(|job: u8| done.send(job).unwrap());
        })
        .unwrap();
        (1..=3).for_each(|job| queue.send(job).unwrap());
        drop(queue);
        drop(worker);
        assert_eq!(all.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
