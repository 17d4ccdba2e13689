//! The other work of the machine: waits and rates measured on a busy machine mean little.

use std::fs;
use std::time::{Duration, Instant};

/// Ticks a second in `/proc`, on every Linux.
const TICKS: f64 = 100.0;

/// The machine's work at one moment, in ticks of all cores.
#[derive(Debug, Clone, Copy)]
pub struct WorkSample {
    at: Instant,
    all: u64,
    /// Work of this process and of children that have exited.
    own: u64,
}

impl WorkSample {
    /// The work so far; `None` if `/proc` cannot be read.
    pub fn now() -> Option<WorkSample> {
        let all = busy(&fs::read_to_string("/proc/stat").ok()?)?;
        let own = own(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(WorkSample { at: Instant::now(), all, own })
    }

    /// The number of cores that other processes used between `before` and this sample. Children
    /// must have exited, or they count as others.
    pub fn others_since(&self, before: &WorkSample) -> f64 {
        let others = (self.all - before.all).saturating_sub(self.own - before.own);
        cores(others, self.at - before.at)
    }
}

fn cores(ticks: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { ticks as f64 / TICKS / time.as_secs_f64() }
}

/// Parses all work in `/proc/stat`: its first line has user, nice, system, idle, iowait, irq,
/// softirq, steal.
fn busy(stat: &str) -> Option<u64> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let numbers: Vec<u64> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
    let (work, rest) = numbers.split_at_checked(3)?;
    Some(work.iter().chain(rest.iter().take(5).skip(2)).sum())
}

/// Parses own work in `/proc/self/stat`: the fields from the 14th on are user, system, and both of
/// the children.
fn own(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything; the third field follows it.
    let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let numbers: Vec<u64> =
        fields.skip(11).take(4).map(str::parse).collect::<Result<_, _>>().ok()?;
    (numbers.len() == 4).then(|| numbers.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_read_from_proc() {
        assert_eq!(
            busy("cpu  10 2 30 4000 500 6 7 8 0 0\ncpu0 1 1"),
            Some(10 + 2 + 30 + 6 + 7 + 8)
        );
        assert_eq!(busy("intr 1"), None);
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0";
        assert_eq!(own(stat), Some(127));
        assert_eq!(own("7 (a) S 1"), None);
        WorkSample::now().expect("this is Linux");
    }

    #[test]
    fn foreign_work_is_all_work_minus_own() {
        let at = Instant::now();
        let before = WorkSample { at, all: 1_000, own: 100 };
        let after = WorkSample { at: at + Duration::from_secs(10), all: 2_500, own: 600 };
        assert_eq!(after.others_since(&before), 1.0);
        assert_eq!(before.others_since(&before), 0.0);
    }
}
