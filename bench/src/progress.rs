//! The progress of a long run: a moving bar on a terminal, and an occasional plain line if stderr
//! is a file or a pipe, so that logs stay short.
//!
//! Everything goes to stderr, so results on stdout can be piped.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle};
use parking_lot::Mutex;

use crate::figures::thousands;

/// Plain lines come at every tenth of the way …
const STEPS: u64 = 10;

/// … and this often if a tenth takes longer, so that a slow run does not seem to hang.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

const BAR: &str = "{msg} [{bar:32}] {percent:>3} % {human_pos}/{human_len} {rate}/s eta {eta}";

/// The progress of one run, shared by its threads by reference.
///
/// If it is dropped unfinished (the run failed), the display stays as it is.
#[derive(Debug)]
pub struct RunProgress(Display);

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Lines(Box<LineDisplay>),
}

impl RunProgress {
    /// Starts at 0 of `total`, in whatever unit [`RunProgress::advance`] counts.
    pub fn new(label: &str, total: u64) -> Self {
        if io::stderr().is_terminal() {
            Self::bar(label, total)
        } else {
            Self(Display::Lines(Box::new(LineDisplay::new(label, total, to_stderr))))
        }
    }

    fn bar(label: &str, total: u64) -> Self {
        let style = ProgressStyle::with_template(BAR)
            .expect("the template is a constant that parses")
            // Replaces the library's rate, which has four decimals.
            .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                // Writing to the library's string cannot fail.
                let _ = out.write_str(&thousands(state.per_sec() as u64));
            })
            .progress_chars("█▉▊▋▌▍▎▏ ");
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
            .with_style(style)
            .with_message(label.to_owned())
            .with_finish(ProgressFinish::Abandon);
        Self(Display::Bar(bar))
    }

    /// Records that `more` is done. Any number of threads may call it often: it never waits for the
    /// terminal.
    pub fn advance(&self, more: u64) {
        match &self.0 {
            Display::Bar(bar) => bar.inc(more),
            Display::Lines(lines) => lines.advance(more),
        }
    }

    /// Ends the run and leaves the last state on the display. A second call does nothing.
    pub fn finish(&self) {
        match &self.0 {
            // Abandon, not finish: a run that was stopped early must not
            // jump to 100 %.
            Display::Bar(bar) if !bar.is_finished() => bar.abandon(),
            Display::Bar(_) => {}
            Display::Lines(lines) => lines.finish(),
        }
    }
}

/// Plain lines.
#[derive(Debug)]
struct LineDisplay {
    label: String,
    print: fn(&str),
    start: Instant,
    done: AtomicU64,
    schedule: Mutex<LineSchedule>,
}

impl LineDisplay {
    fn new(label: &str, total: u64, print: fn(&str)) -> Self {
        Self {
            label: label.to_owned(),
            print,
            start: Instant::now(),
            done: AtomicU64::new(0),
            schedule: Mutex::new(LineSchedule::new(total)),
        }
    }

    fn advance(&self, more: u64) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        // The thread that holds the lock is about to print; the others need not wait.
        let Some(mut schedule) = self.schedule.try_lock() else {
            return;
        };
        let elapsed = self.start.elapsed();
        if schedule.line_is_due(done, elapsed) {
            (self.print)(&schedule.line(&self.label, done, elapsed));
        }
    }

    fn finish(&self) {
        let mut schedule = self.schedule.lock();
        let (done, elapsed) = (self.done.load(Ordering::Relaxed), self.start.elapsed());
        if schedule.last_line_is_due() {
            (self.print)(&schedule.line(&self.label, done, elapsed));
        }
    }
}

fn to_stderr(line: &str) {
    // A closed stderr is no reason to end a measurement.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Determines when a plain line is due, and its text. The time is passed in, so that tests need not
/// wait.
#[derive(Debug)]
struct LineSchedule {
    total: u64,
    /// Tenths done at the last line.
    step: u64,
    /// When the last line was due, since the start.
    at: Duration,
    finished: bool,
}

impl LineSchedule {
    fn new(total: u64) -> Self {
        Self { total, step: 0, at: Duration::ZERO, finished: false }
    }

    /// Whether to print now. The finish prints the last line, since it knows the total time.
    fn line_is_due(&mut self, done: u64, elapsed: Duration) -> bool {
        let step = self.share(done, STEPS);
        let due = !self.finished
            && done < self.total
            && (step > self.step || elapsed.saturating_sub(self.at) >= LONGEST_SILENCE);
        if due {
            self.step = step;
            self.at = elapsed;
        }
        due
    }

    fn last_line_is_due(&mut self) -> bool {
        !std::mem::replace(&mut self.finished, true)
    }

    fn line(&self, label: &str, done: u64, elapsed: Duration) -> String {
        format!(
            "{label}: {} % ({} of {}, {:.1} s)",
            self.share(done, 100),
            thousands(done),
            thousands(self.total),
            elapsed.as_secs_f64(),
        )
    }

    /// How many of `parts` equal parts are done; all of them if the total is 0.
    fn share(&self, done: u64, parts: u64) -> u64 {
        let share = u128::from(done) * u128::from(parts);
        let share = share.checked_div(u128::from(self.total));
        share.and_then(|share| u64::try_from(share).ok()).unwrap_or(parts)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn each_tenth_and_the_finish_print_a_line() {
        let mut schedule = LineSchedule::new(1_000);
        let due: Vec<u64> = (1..=1_000).filter(|&done| schedule.line_is_due(done, SOON)).collect();
        assert_eq!(due, [100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert!(schedule.last_line_is_due());
        assert!(!schedule.last_line_is_due(), "once only");
    }

    #[test]
    fn a_jump_over_several_tenths_is_one_line() {
        let mut schedule = LineSchedule::new(100);
        assert!(schedule.line_is_due(35, SOON));
        assert!(!schedule.line_is_due(39, SOON));
        assert!(schedule.line_is_due(40, SOON));
    }

    #[test]
    fn a_slow_run_prints_every_five_seconds() {
        let mut schedule = LineSchedule::new(1_000_000);
        let due: Vec<u64> = (1..=14)
            .filter(|&second| schedule.line_is_due(second, Duration::from_secs(second)))
            .collect();
        assert_eq!(due, [5, 10]);
    }

    #[test]
    fn no_line_follows_the_finish() {
        let mut schedule = LineSchedule::new(100);
        assert!(schedule.last_line_is_due());
        assert!(!schedule.line_is_due(50, Duration::from_secs(60)));
    }

    #[test]
    fn a_line_has_progress_and_time() {
        let schedule = LineSchedule::new(200_000);
        assert_eq!(
            schedule.line("K=3", 50_000, Duration::from_millis(1_250)),
            "K=3: 25 % (50,000 of 200,000, 1.2 s)"
        );
    }

    #[test]
    fn an_empty_run_is_complete() {
        let mut schedule = LineSchedule::new(0);
        assert_eq!(schedule.line("none", 0, SOON), "none: 100 % (0 of 0, 0.0 s)");
        assert!(!schedule.line_is_due(0, Duration::from_secs(60)));
    }

    #[test]
    fn threads_advance_it_together() {
        let lines =
            LineDisplay::new("threads", 4_000, |line| assert!(line.starts_with("threads: ")));
        let bar = RunProgress::bar("bar", 4_000);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        lines.advance(1);
                        bar.advance(1);
                    }
                });
            }
        });
        lines.finish();
        bar.finish();
        bar.finish();
        assert_eq!(lines.done.load(Ordering::Relaxed), 4_000);
        assert!(matches!(bar.0, Display::Bar(bar) if bar.position() == 4_000));
    }
}
