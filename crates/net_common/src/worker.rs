//! A thread that its owner can stop and join.
//!
//! It has two halves: a [`Worker`] for the owner, and a [`Stop`] that the thread polls. A stop is
//! not a message but the disconnection of a channel that never carries one: it cannot be missed, it
//! reaches all clones, and it is permanent.
//!
//! A worker with a queue may instead exit when the queue closes: its owner then drops the queue's
//! sender before the worker. Fields of a struct are dropped in order, so the sender is declared
//! before the worker.

use std::convert::Infallible;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::logging;

/// A running thread. Stops when dropped.
#[derive(Debug)]
pub struct Worker {
    /// Dropped to stop the thread. Nothing is ever sent.
    stop: Option<Sender<Infallible>>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that logs as `name`. It must return soon after a stop.
    ///
    /// # Errors
    /// If the operating system has no more threads to give.
    pub fn spawn(name: String, run: impl FnOnce(Stop) + Send + 'static) -> io::Result<Worker> {
        let (stop, stopped) = bounded(0);
        let thread = logging::spawn(name, move || run(Stop(stopped)))?;
        Ok(Worker { stop: Some(stop), thread: Some(thread) })
    }

    /// Asks the thread to stop without waiting for it: for an owner that has to stop something else
    /// in between.
    pub fn request_stop(&mut self) {
        self.stop = None;
    }

    /// Asks the thread to stop, and waits until it has. Does nothing the second time.
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

/// The thread's view of a stop. All clones see it.
#[derive(Debug, Clone)]
pub struct Stop(Receiver<Infallible>);

impl Stop {
    /// Whether the thread has to stop.
    pub fn has_come(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Sleeps for `time`, or until the stop. Returns whether there was one.
    pub fn wait(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    /// For `select!`: disconnects at the stop, and never receives anything.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn stopping_waits_for_the_thread() {
        let (report, reported) = bounded(2);
        let mut worker = Worker::spawn("test".into(), move |stop| {
            report.send(stop.has_come()).unwrap();
            report.send(stop.wait(PATIENCE)).unwrap();
        })
        .unwrap();
        assert_eq!(reported.recv_timeout(PATIENCE), Ok(false));
        assert!(reported.try_recv().is_err(), "it still works");
        worker.stop();
        assert_eq!(reported.try_recv(), Ok(true), "it has ended");
        worker.stop();
    }

    #[test]
    fn dropping_a_worker_stops_it_and_its_helpers() {
        let (report, reported) = bounded(2);
        let worker = Worker::spawn("test".into(), move |stop| {
            let (also, report_too) = (stop.clone(), report.clone());
            let _helper = Worker::spawn("helper".into(), move |_| {
                report_too.send(also.channel().recv().is_err()).unwrap();
            })
            .unwrap();
            report.send(stop.channel().recv().is_err()).unwrap();
        })
        .unwrap();
        drop(worker);
        assert_eq!(reported.try_iter().collect::<Vec<_>>(), [true, true]);
    }

    #[test]
    fn a_wait_without_a_stop_ends() {
        let (report, reported) = bounded(1);
        let _worker = Worker::spawn("test".into(), move |stop| {
            report.send(stop.wait(Duration::from_millis(1))).unwrap();
        })
        .unwrap();
        assert_eq!(reported.recv_timeout(PATIENCE), Ok(false));
    }

    #[test]
    fn a_worker_with_a_queue_empties_it_and_exits() {
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
