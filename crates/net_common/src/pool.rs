//! A pool of threads that grows to a limit.
//!
//! A job goes to a thread that waits for one; if none waits, a new thread is started; if the limit
//! is reached, the job is handed back. The hand-off is a crossbeam channel without a buffer: a send
//! succeeds only if a thread is waiting on the other side, so no job ever waits in a queue. Idle
//! threads exit after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::logging;

/// How long a thread waits for another job before it exits.
const SPARE: Duration = Duration::from_secs(10);

/// Threads that run jobs of type `J`.
pub struct Pool<J: Send + 'static> {
    name: String,
    limit: usize,
    size: Arc<AtomicUsize>,
    run: Arc<dyn Fn(J) + Send + Sync>,
    hand_off: (Sender<J>, Receiver<J>),
    /// Every thread holds a clone; when all are dropped, `ended` disconnects.
    alive: Sender<()>,
    ended: Receiver<()>,
}

impl<J: Send + 'static> Pool<J> {
    /// A pool without threads yet. `run` does one job; its threads log as `name`.
    pub fn new(name: String, limit: usize, run: impl Fn(J) + Send + Sync + 'static) -> Pool<J> {
        let (alive, ended) = bounded(0);
        Pool {
            name,
            limit,
            size: Arc::new(AtomicUsize::new(0)),
            run: Arc::new(run),
            hand_off: bounded(0),
            alive,
            ended,
        }
    }

    /// Starts a job on a thread of its own.
    ///
    /// # Errors
    /// Hands the job back where the limit is reached or the operating system has no more threads.
    pub fn submit(&self, job: J) -> Result<(), J> {
        let job = match self.hand_off.0.try_send(job) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
        };
        // Only one thread submits, so the limit cannot be overrun between these two lines.
        if self.size.load(Ordering::Acquire) >= self.limit {
            return Err(job);
        }
        self.grow(job)
    }

    fn grow(&self, job: J) -> Result<(), J> {
        let (run, jobs) = (self.run.clone(), self.hand_off.1.clone());
        let (alive, size) = (self.alive.clone(), Leave(self.size.clone()));
        // The first job travels by channel as well, so that it can come back if no thread starts.
        let (first, gets_first) = bounded(1);
        let worker = move || {
            let _alive = alive;
            let _size = size;
            let mut next: Result<J, RecvTimeoutError> =
                gets_first.recv().map_err(|_| RecvTimeoutError::Disconnected);
            while let Ok(job) = next {
                run(job);
                next = jobs.recv_timeout(SPARE);
            }
        };
        self.size.fetch_add(1, Ordering::AcqRel);
        match logging::spawn(self.name.clone(), worker) {
            Ok(_) => first.send(job).map_err(|unsent| unsent.into_inner()),
            // The closure, and with it the count, was dropped.
            Err(_) => Err(job),
        }
    }

    /// The number of threads.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Acquire)
    }

    /// Shuts down: waits until every thread has finished its job, for `patience` at most. Returns
    /// whether all have.
    pub fn finish(self, patience: Duration) -> bool {
        drop((self.hand_off, self.alive));
        self.ended.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

/// Decrements the thread count when dropped, also after a panic.
struct Leave(Arc<AtomicUsize>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn it_grows_to_its_limit_and_reuses_threads() {
        let (started, starts) = bounded(10);
        let pool = Pool::new("test".into(), 2, move |release: Receiver<()>| {
            started.send(()).unwrap();
            let _ = release.recv();
        });
        let (release, gate) = bounded::<()>(0);
        for _ in 0..2 {
            pool.submit(gate.clone()).unwrap();
            starts.recv_timeout(PATIENCE).unwrap();
        }
        assert!(pool.submit(gate.clone()).is_err(), "the limit is 2");
        drop(release);
        // Both threads come back to wait; then a third job needs no third thread.
        while pool.submit(gate.clone()).is_err() {
            std::thread::yield_now();
        }
        starts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(pool.size(), 2);
        assert!(pool.finish(PATIENCE));
    }

    #[test]
    fn finishing_waits_for_jobs() {
        let (done, is_done) = bounded(1);
        let pool = Pool::new("test".into(), 1, move |release: Receiver<()>| {
            let _ = release.recv();
            done.send(()).unwrap();
        });
        let (release, gate) = bounded::<()>(0);
        pool.submit(gate).unwrap();
        drop(release);
        assert!(pool.finish(PATIENCE));
        assert!(is_done.try_recv().is_ok());
    }
}
