//! The thread that waits for the disk in `async`, so that the writer can continue meanwhile.
//!
//! It has one job at a time. Its result must not get lost: the system reports an error once, and a
//! later call succeeds.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use net_common::worker::Worker;

use crate::disk::files::Output;

/// A segment to be synced, with its number and its length.
struct FlushJob {
    sequence: u64,
    end: u64,
    output: Arc<dyn Output>,
}

/// The result of a job.
pub struct Flushed {
    /// The segment.
    pub sequence: u64,
    /// The length that is on the disk, on success.
    pub end: u64,
    /// The system's result.
    pub result: io::Result<()>,
}

/// The thread and its jobs.
pub struct DiskFlusher {
    jobs: Option<Sender<FlushJob>>,
    done: Receiver<Flushed>,
    /// Declared after `jobs`: the thread exits when there are no more.
    worker: Worker,
    is_busy: bool,
    /// When the last job began.
    since: Instant,
}

impl DiskFlusher {
    /// Starts the thread, for the node of this name.
    ///
    /// # Errors
    /// If the operating system has no more threads.
    pub fn start(name: &str) -> io::Result<DiskFlusher> {
        let (jobs, received) = bounded::<FlushJob>(1);
        let (results, done) = bounded(1);
        let worker = Worker::spawn(format!("{name} disk sync"), move |_| {
            for FlushJob { sequence, end, output } in received {
                if results.send(Flushed { sequence, end, result: output.sync() }).is_err() {
                    return;
                }
            }
        })?;
        Ok(DiskFlusher { jobs: Some(jobs), done, worker, is_busy: false, since: Instant::now() })
    }

    /// Receives the result of a job; [`DiskFlusher::took_result`] has to be called then.
    pub fn done(&self) -> &Receiver<Flushed> {
        &self.done
    }

    /// Notes that the result of a job was received.
    pub fn took_result(&mut self) {
        self.is_busy = false;
    }

    /// Whether it has a job whose result was not received yet.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// How long ago the last job began.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Starts a job, unless there is one. Never waits.
    pub fn flush(&mut self, sequence: u64, end: u64, output: Arc<dyn Output>) {
        if let Some(jobs) = self.jobs.as_ref().filter(|_| !self.is_busy) {
            self.is_busy = jobs.try_send(FlushJob { sequence, end, output }).is_ok();
            self.since = Instant::now();
        }
    }

    /// Stops the thread, and returns the result of its last job. Waits for the disk.
    pub fn stop(&mut self) -> Option<Flushed> {
        self.jobs = None;
        let last = if self.is_busy { self.done.recv().ok() } else { None };
        self.is_busy = false;
        self.worker.stop();
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails once, as the system does.
    struct FailsOnce(Receiver<()>);

    impl Output for FailsOnce {
        fn append(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.0.try_recv().map_or(Ok(()), |()| Err(io::ErrorKind::StorageFull.into()))
        }

        fn cut(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_it_has_to_say_at_its_end_is_heard() {
        let (fail, fails) = bounded(1);
        fail.send(()).unwrap();
        let output = Arc::new(FailsOnce(fails));
        let mut flusher = DiskFlusher::start("node1").unwrap();
        flusher.flush(3, 500, output.clone());
        let last = flusher.stop().unwrap();
        assert_eq!((last.sequence, last.end, last.result.is_err()), (3, 500, true));
        assert!(output.sync().is_ok(), "nobody else would have seen it");
        assert!(flusher.stop().is_none());
    }
}
