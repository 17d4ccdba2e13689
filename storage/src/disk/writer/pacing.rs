//! How long the log may become, and how fast a checkpoint has to be made, so that a folder stays
//! small.
//!
//! While a checkpoint is made there are, at most: the checkpoint before it, the log since that, and
//! the checkpoint itself. A folder is to have at most two and a half times what the records take,
//! and a segment more. So the log may come to half a checkpoint and a segment: one part of it
//! before the next checkpoint begins, the other while that is made. A checkpoint that nobody is in
//! the way of takes its time, so that requests hardly notice; but it keeps pace with the log.
//!
//! What it cannot do is make a disk, or a processor, faster than it is: a checkpoint that never
//! rests may still be slower than the log.

use std::time::Duration;

/// How long the thread that makes a checkpoint rests after a frame, in times of what the frame
/// took: two thirds of a processor are left to requests, and more where they are busy.
const REST: u32 = 2;

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// What the log may come to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Since the last checkpoint began, before the next does.
    pub before: u64,
    /// While a checkpoint is made.
    pub during: u64,
}

impl Pacing {
    /// Where a checkpoint takes so many bytes.
    pub fn new(segment_bytes: u64, checkpoint_bytes: u64) -> Pacing {
        let all = segment_bytes + checkpoint_bytes / 2;
        let before = all / 2;
        Pacing { before, during: all - before }
    }

    /// How long a checkpoint rests of which a part is `done`, from 0 to 1, while the log has grown
    /// by so many bytes, after a frame that took so long.
    pub fn rest(&self, done: f64, grown: u64, took: Duration) -> Duration {
        // Half is for the end, when it waits for the disk, and for a machine that is busy with
        // other things.
        let due = grown as f64 / (self.during as f64 * 0.5);
        if done < due { Duration::ZERO } else { (took * REST).min(LONGEST_REST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 64 << 20;

    /// Writes for a while with so many bytes a second, where checkpoints of so many bytes are made
    /// with so many a second that never rest. Returns the most that the folder has, and the part of
    /// the time in which one is made.
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
