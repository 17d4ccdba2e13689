//! The state of the log, which determines the writer's next steps.
//!
//! | state | the disk fails | its segment is closed | another is begun | the log is whole again |
//! |---|---|---|---|---|
//! | *writing*: the log continues what was before | failed | writing | writing | |
//! | *failed*: it has a gap, and nothing is written | failed | failed | rebuilding | |
//! | *rebuilding*: it is written again, behind the gap | failed | failed | rebuilding | writing |
//!
//! In each state a checkpoint may be in progress: it begins while the log is written, and continues
//! whatever happens to the log. The log is whole again when a checkpoint that began after the gap
//! is complete. So a checkpoint in progress has to end before a failed log is tried again.

use std::time::Instant;

/// The log: its state, and a checkpoint in progress. `S` is a segment, `C` the checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct Log<S, C> {
    state: LogState<S>,
    checkpoint: Option<C>,
}

#[derive(Debug, PartialEq, Eq)]
enum LogState<S> {
    /// With the current segment, once there is something to write.
    Writing(Option<S>),
    /// With the segment in which the disk has failed, until it is truncated to the part that is
    /// certainly on the disk.
    Failed { broken: Option<S>, tried: Instant },
    /// With a segment that no complete checkpoint leads up to yet.
    Rebuilding { segment: S, tried: Instant },
}

impl<S, C> Log<S, C> {
    /// An empty log.
    pub fn new() -> Log<S, C> {
        Log { state: LogState::Writing(None), checkpoint: None }
    }

    /// The current segment, if there is one.
    pub fn segment(&self) -> Option<&S> {
        match &self.state {
            LogState::Writing(segment) => segment.as_ref(),
            LogState::Failed { .. } => None,
            LogState::Rebuilding { segment, .. } => Some(segment),
        }
    }

    /// The current segment, to be changed.
    pub fn segment_mut(&mut self) -> Option<&mut S> {
        match &mut self.state {
            LogState::Writing(segment) => segment.as_mut(),
            LogState::Failed { .. } => None,
            LogState::Rebuilding { segment, .. } => Some(segment),
        }
    }

    /// The segment in which the disk has failed, if it still has to be truncated.
    pub fn broken_mut(&mut self) -> Option<&mut S> {
        match &mut self.state {
            LogState::Failed { broken, .. } => broken.as_mut(),
            LogState::Writing(_) | LogState::Rebuilding { .. } => None,
        }
    }

    /// The checkpoint in progress, if there is one.
    pub fn checkpoint(&self) -> Option<&C> {
        self.checkpoint.as_ref()
    }

    /// Whether the log has failed, and nothing is written.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, LogState::Failed { .. })
    }

    /// Whether records are missing in the log, so that a checkpoint is needed.
    pub fn has_gap(&self) -> bool {
        self.tried().is_some()
    }

    /// When the log failed, or a rebuild was last tried; `None` if it is whole.
    pub fn tried(&self) -> Option<Instant> {
        match self.state {
            LogState::Writing(_) => None,
            LogState::Failed { tried, .. } | LogState::Rebuilding { tried, .. } => Some(tried),
        }
    }

    /// Notes that the disk has failed. A segment that was broken before stays so if nothing was
    /// written since.
    pub fn fail(&mut self, now: Instant) {
        let broken = self.take_segment();
        self.state = LogState::Failed { broken, tried: now };
    }

    /// Notes that a rebuild is tried.
    pub fn try_again(&mut self, now: Instant) {
        match &mut self.state {
            LogState::Writing(_) => {}
            LogState::Failed { tried, .. } | LogState::Rebuilding { tried, .. } => *tried = now,
        }
    }

    /// Removes the segment, whole or broken, from the log: it was closed, or will be reused.
    pub fn take_segment(&mut self) -> Option<S> {
        let (segment, state) = match std::mem::replace(&mut self.state, LogState::Writing(None)) {
            LogState::Writing(segment) => (segment, LogState::Writing(None)),
            LogState::Failed { broken, tried } => {
                (broken, LogState::Failed { broken: None, tried })
            }
            LogState::Rebuilding { segment, tried } => {
                (Some(segment), LogState::Failed { broken: None, tried })
            }
        };
        self.state = state;
        segment
    }

    /// Begins a segment, which is written from now on.
    pub fn begin_segment(&mut self, segment: S) {
        self.state = match self.tried() {
            None => LogState::Writing(Some(segment)),
            Some(tried) => LogState::Rebuilding { segment, tried },
        };
    }

    /// Notes a checkpoint in progress, which leads up to the present segment.
    pub fn begin_checkpoint(&mut self, checkpoint: C) {
        self.checkpoint = Some(checkpoint);
    }

    /// Ends the checkpoint in progress, complete or not.
    pub fn end_checkpoint(&mut self) -> Option<C> {
        self.checkpoint.take()
    }

    /// Notes that a complete checkpoint leads up to the present segment. Returns whether that
    /// closes a gap.
    pub fn make_whole(&mut self) -> bool {
        match std::mem::replace(&mut self.state, LogState::Writing(None)) {
            LogState::Rebuilding { segment, .. } => {
                self.state = LogState::Writing(Some(segment));
                true
            }
            state => {
                self.state = state;
                false
            }
        }
    }
}

/// A flaw of a folder that the next complete checkpoint removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debt {
    /// Nothing.
    Nothing,
    /// Damaged files, which must not be read again.
    Damage,
    /// The mark that the log has a gap, written or attempted.
    Gap,
}

#[cfg(test)]
mod tests {
    use super::*;

    type Names = Log<&'static str, ()>;

    /// A log in each of its states.
    fn log(state: &str, now: Instant) -> Names {
        let mut log = Names::new();
        log.begin_segment("first");
        match state {
            "writing" => {}
            "failed" => log.fail(now),
            "rebuilding" => {
                log.fail(now);
                assert_eq!(log.take_segment(), Some("first"));
                log.begin_segment("second");
            }
            _ => panic!("no such state"),
        }
        log
    }

    fn name(log: &Names) -> &'static str {
        match (log.has_gap(), log.has_failed()) {
            (false, false) => "writing",
            (true, true) => "failed",
            (true, false) => "rebuilding",
            (false, true) => panic!("a log without a gap has not failed"),
        }
    }

    #[test]
    fn the_states_follow_each_other_as_the_table_says() {
        let now = Instant::now();
        type Happen = fn(&mut Names);
        let events: [Happen; 4] = [
            |log| log.fail(Instant::now()),
            |log| {
                log.take_segment();
            },
            |log| log.begin_segment("next"),
            |log| {
                log.make_whole();
            },
        ];
        // An empty cell of the table means no change.
        for (state, want) in [
            ("writing", ["failed", "writing", "writing", "writing"]),
            ("failed", ["failed", "failed", "rebuilding", "failed"]),
            ("rebuilding", ["failed", "failed", "rebuilding", "writing"]),
        ] {
            for (happens, want) in events.iter().zip(want) {
                for is_checkpointing in [false, true] {
                    let mut log = log(state, now);
                    if is_checkpointing {
                        log.begin_checkpoint(());
                    }
                    happens(&mut log);
                    assert_eq!(name(&log), want, "of {state}");
                    assert_eq!(log.checkpoint().is_some(), is_checkpointing);
                    assert_eq!(log.end_checkpoint().is_some(), is_checkpointing);
                    assert_eq!(name(&log), want, "a checkpoint alone changes nothing");
                }
            }
        }
    }

    #[test]
    fn a_broken_segment_stays_broken_until_it_is_cut() {
        let now = Instant::now();
        let mut log = log("failed", now);
        log.fail(now);
        assert_eq!(log.broken_mut(), Some(&mut "first"));
        assert_eq!(log.segment(), None);
        // It was empty, and is reused.
        let again = log.take_segment().unwrap();
        log.begin_segment(again);
        assert_eq!((log.segment().copied(), log.broken_mut()), (Some("first"), None));
        log.fail(now);
        assert_eq!(log.take_segment(), Some("first"));
        assert_eq!(log.broken_mut(), None);
        assert_eq!(log.segment(), None);
    }

    #[test]
    fn the_time_of_the_last_try_is_forgotten_with_the_gap() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let mut log = log("failed", now);
        assert_eq!(log.tried(), Some(now));
        log.try_again(later);
        log.begin_segment("second");
        assert_eq!(log.tried(), Some(later));
        assert!(log.make_whole() && !log.make_whole());
        log.try_again(later);
        assert_eq!(log.tried(), None);
    }
}
