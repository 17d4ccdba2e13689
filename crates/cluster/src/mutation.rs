//! Planted bugs: one rule taken away at a time.
//!
//! A checker that finds nothing proves something only if it finds what is there. With the feature
//! `mutations` (never in a build that anybody runs) each of these can be switched on, in one thread for
//! simulations and models, or in a whole process by the environment variable `GTSTORE_MUTATION`; without
//! it every switch is the constant `false` and costs nothing. `docs/rationale.md` has the schedules
//! that they break.

/// One rule taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// H5: lower limits are put in force without a look at what is stored.
    LimitsUnmeasured,
    /// C1: a write is done with fewer synced copies than the cluster asks for.
    FewCopies,
    /// C3: a pending record is shown as it is.
    NoWriteback,
    /// N2: what is stored counts as committed at once.
    CommitEarly,
    /// N3: a mark counts for every writer, and for what is still to come.
    AnyWatermark,
    /// C1: a put is done after one member's answer.
    AnyAnswered,
    /// C1: a fresh version is taken although an older one may be stored somewhere.
    RetryMay,
    /// C1: a blind answer counts as a synced one.
    BlindStored,
    /// N1: a node that is still fetching answers reads.
    ReadsBlind,
    /// H1: a source need not be at the puller's epoch, nor its page be merged under the one it was read under.
    AnySource,
    /// H1: a source need not be synced.
    UnsyncedSource,
    /// N1: a node serves without a lease.
    NoLease,
    /// L1: any heartbeat extends a lease (F3).
    RegainAny,
    /// L2: a member is dropped while it has a lease.
    RemovedEarly,
    /// L3: a view is active without waiting for its members.
    NoAckWait,
    /// H1: a node that skips a view stays synced (F5).
    SkipKeeps,
    /// Versions: a writer draws the same version twice (F1).
    ClockReuse,
    /// C5: a successor is spread under a newer epoch than it was swapped under (R1).
    SpreadMoved,
    /// C5: what a fence found is swapped under a newer epoch.
    SwapMoved,
    /// C5: a swap without a reply counts as not done (R8).
    LostIsNot,
    /// C5: a fence does not count what members that are not synced hold.
    FenceSkipsBlind,
    /// C3: a successor is written back under another epoch than it was read under (R1).
    BackMoved,
    /// Versions: all read-modify-writes of a version make the same one.
    SameOp,
    /// Versions: a successor is a plain version with the next clock.
    SuccessorClock,
    /// N1: a write is stored some time after it was admitted (F2). The rule is the shell's, which holds
    /// the view from one to the other; so is this switch, in the model's.
    LateApply,
    /// L3: a view is used before it is active (F4).
    CoordEarly,
    /// L5: a process that starts again takes the place of the one before, as if it held its ranges (F6).
    QuickRestart,
    /// C1: a put or write-back needs no synced member's word (F12).
    Vacuous,
    /// C1: a fresh version is taken where an attempt was refused or not answered.
    RetryNew,
    /// H2: joiners become active one by one, each when it holds its ranges (F7 a).
    PromoteSubset,
    /// H2: joiners become active when they hold their ranges, whether or not the others do (F7 b).
    PromoteLoose,
    /// L3: a view is made while another is not active yet (F5).
    TwoPending,
    /// H5: a leaver goes before the others hold all that it held.
    LeaverGoes,
    /// H5: a leaver's process ends with the view in which it begins to leave.
    LeavesAtOnce,
    /// H5: a change is cancelled although only those who drop it then hold what they have fetched.
    CancelDrops,
    /// H1: a node that loses a range and gets it back is still synced there.
    LossKeeps,
    /// H4: a node that was away as the last to hold some arcs is still synced in its others as well, which have
    /// gone on without it.
    SoleHolderKeeps,
    /// H3: records of an earlier life stay among those that are shown (F10, R6).
    StaleStays,
    /// H3: records of an earlier life stay although no source has confirmed them (F10). The rule is the
    /// shell's, which knows the records; so is this switch, in the simulation's.
    StaleKept,
    /// H6: what a folder has of an older view, or of an earlier start than the one that is a member, counts as well.
    ClaimOld,
    /// H6: a replacement in `async` has everything, although other disks may have more.
    ReplacementSynced,
    /// H6: what was lost is gathered when one of those who keep it has told what he had.
    GathersOne,
    /// H6: a replacement is acknowledged before its disk tells of it. The rule is the shell's, and so is this switch, in
    /// the simulation's.
    ReplacementEarly,
    /// H6: with `sync` an answer does not wait for the disk (F14). The rule is the shell's, and so is this switch, in
    /// the simulation's.
    AnswersUnsynced,
    /// C3: with `sync` a write-back leaves out the primary that has shown the record, whose disk may not have it.
    BackSkips,
    /// H6: a dead member whose records are on its disk is dropped on the word of somebody who may be dead as well.
    DeadTestify,
    /// L7: a manager goes on from an older copy of its folder under nodes that have seen later views, and nodes follow it.
    OlderState,
    /// H6: who was dropped counts although the view without it was used.
    UsedCounts,
    /// C6: what has expired is shown as gone before all replicas know.
    ExpiryAlone,
    /// C6: the tombstone of what has expired has the version of what it was.
    ExpirySame,
    /// C6: that something newer of the same line is held counts for the tombstone of what has expired.
    ExpiryCounts,
    /// L2: a manager that starts again waits for a shorter lease than may be out.
    ShortLease,
    /// H4: a loss is accepted although it is another than the operator was shown.
    AcceptMore,
    /// An order or a registration that is refused leaves behind what was set before the answer.
    WaitLeaves,
    /// L5: a copy of a data folder that was seen beside its original is taken for it once that is silent.
    CopyTaken,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 55] = [
        Mutation::LimitsUnmeasured,
        Mutation::FewCopies,
        Mutation::NoWriteback,
        Mutation::CommitEarly,
        Mutation::AnyWatermark,
        Mutation::AnyAnswered,
        Mutation::RetryMay,
        Mutation::BlindStored,
        Mutation::ReadsBlind,
        Mutation::AnySource,
        Mutation::UnsyncedSource,
        Mutation::NoLease,
        Mutation::RegainAny,
        Mutation::RemovedEarly,
        Mutation::NoAckWait,
        Mutation::SkipKeeps,
        Mutation::ClockReuse,
        Mutation::SpreadMoved,
        Mutation::SwapMoved,
        Mutation::LostIsNot,
        Mutation::FenceSkipsBlind,
        Mutation::BackMoved,
        Mutation::SameOp,
        Mutation::SuccessorClock,
        Mutation::LateApply,
        Mutation::CoordEarly,
        Mutation::QuickRestart,
        Mutation::Vacuous,
        Mutation::RetryNew,
        Mutation::PromoteSubset,
        Mutation::PromoteLoose,
        Mutation::TwoPending,
        Mutation::LeaverGoes,
        Mutation::LeavesAtOnce,
        Mutation::CancelDrops,
        Mutation::LossKeeps,
        Mutation::SoleHolderKeeps,
        Mutation::StaleStays,
        Mutation::StaleKept,
        Mutation::ClaimOld,
        Mutation::ReplacementSynced,
        Mutation::GathersOne,
        Mutation::ReplacementEarly,
        Mutation::AnswersUnsynced,
        Mutation::BackSkips,
        Mutation::DeadTestify,
        Mutation::OlderState,
        Mutation::UsedCounts,
        Mutation::ExpiryAlone,
        Mutation::ExpirySame,
        Mutation::ExpiryCounts,
        Mutation::ShortLease,
        Mutation::AcceptMore,
        Mutation::WaitLeaves,
        Mutation::CopyTaken,
    ];
}

/// Whether a rule is taken away.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub const fn is_on(_: Mutation) -> bool {
    false
}

#[cfg(feature = "mutations")]
pub use switches::{is_on, with};

#[cfg(feature = "mutations")]
mod switches {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::Mutation;

    thread_local! {
        static HERE: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    static EVERYWHERE: OnceLock<Option<Mutation>> = OnceLock::new();

    /// Whether a rule is taken away, in this thread or in this process.
    pub fn is_on(mutation: Mutation) -> bool {
        let everywhere = EVERYWHERE.get_or_init(|| {
            let name = std::env::var("GTSTORE_MUTATION").ok()?;
            Mutation::ALL.into_iter().find(|m| format!("{m:?}") == name)
        });
        HERE.get() == Some(mutation) || *everywhere == Some(mutation)
    }

    /// Runs something with a rule taken away in this thread.
    pub fn with<T>(mutation: Mutation, run: impl FnOnce() -> T) -> T {
        HERE.set(Some(mutation));
        let result = run();
        HERE.set(None);
        result
    }
}
