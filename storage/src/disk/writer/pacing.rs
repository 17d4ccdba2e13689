//! How long the log may become, and how fast a checkpoint has to be written, so that a folder stays
//! small.
//!
//! During a checkpoint a folder has at most: the checkpoint before it, the log since that, and the
//! new checkpoint. Its size should stay below two and a half times the size of the records, plus a
//! segment. So the log may grow to half a checkpoint and a segment: one half of that before the
//! next checkpoint begins, the other half during it. A checkpoint runs slowly, so that requests
//! hardly notice, unless the log grows faster.
//!
//! The bound depends on the disk and the processor: even a checkpoint that never rests may be
//! slower than the log.

use std::time::Duration;

/// The rest after each frame, as a multiple of the time that the frame took: it leaves two thirds
/// of a processor to requests, and more when they are busy.
const REST: u32 = 2;

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// The growth that the log is allowed, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// From the beginning of one checkpoint to that of the next.
    pub before: u64,
    /// During a checkpoint.
    pub during: u64,
}

impl Pacing {
    /// The pacing for a checkpoint of so many bytes.
    pub fn new(segment_bytes: u64, checkpoint_bytes: u64) -> Pacing {
        let all = segment_bytes + checkpoint_bytes / 2;
        let before = all / 2;
        Pacing { before, during: all - before }
    }

    /// The rest of a checkpoint after a frame that took so long, when the fraction `done`, from 0
    /// to 1, is complete and the log has grown by so many bytes.
    pub fn rest(&self, done: f64, grown: u64, took: Duration) -> Duration {
        // Half of the growth is reserved for the end, when the checkpoint waits for the disk, and
        // for a busy machine.
        let due = grown as f64 / (self.during as f64 * 0.5);
        if done < due { Duration::ZERO } else { (took * REST).min(LONGEST_REST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 64 << 20;

    /// Simulates writes at `rate` bytes a second, with checkpoints of `checkpoint` bytes that could
    /// be written at `speed` bytes a second. Returns the largest size of the folder, and the
    /// fraction of the time in which a checkpoint is in progress.
    fn run(rate: f64, checkpoint: u64, speed: f64) -> (u64, f64) {
        let frame = 256.0 * 1024.0;
        let (mut log, mut most, mut making, mut time) = (0.0, 0, 0.0, 0.0);
        let pacing = Pacing::new(SEGMENT, checkpoint);
        for _ in 0..20 {
            let before = pacing.before as f64;
            if log < before {
                time += (before - log) / rate;
                log = before;
            }
            let (mut done, mut grown) = (0.0, 0.0);
            while done < checkpoint as f64 {
                let took = frame / speed;
                let part = done / checkpoint as f64;
                let rest = pacing.rest(part, grown as u64, Duration::from_secs_f64(took));
                let spent = took + rest.as_secs_f64();
                (done, grown) = (done + frame, grown + spent * rate);
                (time, making) = (time + spent, making + spent);
            }
            most = most.max(2 * checkpoint + (log + grown) as u64);
            log = grown;
        }
        (most, making / time)
    }

    #[test]
    fn a_folder_stays_small_while_the_disk_keeps_up() {
        for checkpoint in [1 << 20, 14 << 20, 140 << 20, 2 << 30] {
            for rate in [1e3, 1e6, 10e6, 50e6] {
                let (most, part) = run(rate, checkpoint, 400e6);
                let allowed = checkpoint * 5 / 2 + SEGMENT;
                assert!(
                    most <= allowed,
                    "{most} of {allowed} bytes, checkpoints of {checkpoint} at {rate}"
                );
                assert!(
                    part < 0.7,
                    "checkpoints of {checkpoint} at {rate} are made all the time: {part}"
                );
            }
        }
    }

    #[test]
    fn a_checkpoint_rests_unless_the_log_runs_ahead() {
        let pacing = Pacing::new(SEGMENT, 0);
        let ms = Duration::from_millis;
        assert_eq!(pacing.rest(0.0, 0, ms(1)), ms(2));
        assert_eq!(pacing.rest(0.5, pacing.during / 5, ms(100)), LONGEST_REST);
        assert_eq!(pacing.rest(0.5, pacing.during / 2, ms(1)), Duration::ZERO);
    }
}
