//! Mutations: planted bugs, each of which takes one rule away.
//!
//! A checker that finds nothing proves something only if it finds a bug that is there. With the
//! feature `mutations` (never in a build for use) each of these can be switched on: in one thread,
//! for simulations and models, or in a whole process with the environment variable
//! `GTSTORE_MUTATION`. Without the feature every switch is the constant `false` and costs nothing.
//! `docs/rationale.md` has the schedules that break each rule.

/// One rule taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// H5: lower limits come into force although longer records may be stored.
    LimitsUnmeasured,
    /// C1: a write is acknowledged with fewer synced copies than the cluster requires.
    FewCopies,
    /// C3: a read returns a pending record without a write-back.
    NoWriteback,
    /// N2: a record counts as committed as soon as it is stored.
    CommitEarly,
    /// N3: a commit watermark counts for every writer, and for later writes.
    AnyWatermark,
    /// C1: a put is acknowledged after one member's answer.
    AnyAnswered,
    /// C1: a put takes a fresh version although its older one may be stored somewhere.
    RetryMay,
    /// C1: a blind answer counts as that of a synced node.
    BlindStored,
    /// N1: a node that is still fetching answers reads.
    ReadsBlind,
    /// H1: neither the source's epoch nor the epoch of a page is compared with the fetching node's.
    AnySource,
    /// H1: a source need not be synced.
    UnsyncedSource,
    /// N1: a node serves without a lease.
    NoLease,
    /// L1: any heartbeat extends a lease (F3).
    RegainAny,
    /// L2: a member is dropped while it has a lease.
    RemovedEarly,
    /// L3: a view is active before its members have acknowledged it.
    NoAckWait,
    /// H1: a node that skips a view stays synced (F5).
    SkipKeeps,
    /// Versions: a writer draws the same version twice (F1).
    ClockReuse,
    /// C5: a successor is spread under a newer epoch than it was swapped under (R1).
    SpreadMoved,
    /// C5: a swap uses the result of a fence from an older epoch.
    SwapMoved,
    /// C5: a swap without a reply counts as not done (R8).
    LostIsNot,
    /// C5: a fence ignores records of members that are not synced.
    FenceSkipsBlind,
    /// C3: a successor is written back under another epoch than it was read under (R1).
    BackMoved,
    /// Versions: all read-modify-writes of a version make the same one.
    SameOp,
    /// Versions: a successor is a plain version with the next clock.
    SuccessorClock,
    /// N1: a write is stored some time after it was admitted (F2). The shell holds the view between
    /// the two steps, so this switch is in the model's shell.
    LateApply,
    /// L3: a view is used before it is active (F4).
    CoordEarly,
    /// L5: a process that starts again takes the place of the one before, as if it held its ranges
    /// (F6).
    QuickRestart,
    /// C1: a put or write-back needs no answer of a synced member (F12).
    Vacuous,
    /// C1: a put takes a fresh version after an attempt that was refused or not answered.
    RetryNew,
    /// H2: joining members become active one by one, each when it holds its ranges (F7 a).
    PromoteSubset,
    /// H2: joining members become active when they hold their ranges, even if others do not yet (F7
    /// b).
    PromoteLoose,
    /// L3: the manager makes a view before the previous one is active (F5).
    TwoPending,
    /// H5: a leaving member is removed before the others hold all of its records.
    LeaverGoes,
    /// H5: a leaving node exits in the view in which it begins to leave.
    LeavesAtOnce,
    /// H5: a change is cancelled although some records are only on members that then drop them.
    CancelDrops,
    /// H1: a node that loses a range and regains it stays synced there.
    LossKeeps,
    /// H4: a returning sole holder stays synced in its other arcs too, which were written without
    /// it.
    SoleHolderKeeps,
    /// H3: stale records stay among those that reads return (F10, R6).
    StaleStays,
    /// H3: stale records are kept although no source has confirmed them (F10). The shell holds the
    /// records, so this switch is in the simulation's shell.
    StaleKept,
    /// H6: a folder counts although it is from an older view, or from a start before the member's.
    ClaimOld,
    /// H6: a replacement counts as complete with `async`, although other disks may have more.
    ReplacementSynced,
    /// H6: a gather is complete after the answer of one replica.
    GathersOne,
    /// H6: a replacement is acknowledged before it is recorded on the disk. Rule and switch are in
    /// the shell; the switch in the simulation's.
    ReplacementEarly,
    /// H6: with `sync` an answer does not wait for the disk (F14). Rule and switch are in the
    /// shell; the switch in the simulation's.
    AnswersUnsynced,
    /// C3: with `sync` a write-back skips the primary that returned the record, whose disk may not
    /// have it.
    BackSkips,
    /// H6: a dead member whose records are on its disk is dropped on a report of a node that may be
    /// dead too.
    DeadTestify,
    /// L7: a manager continues from an older copy of its folder although nodes have seen later
    /// views, and nodes follow it.
    OlderState,
    /// H6: a dropped member's records count although the view without it was used.
    UsedCounts,
    /// C6: an expired value is reported as absent before all replicas know.
    ExpiryAlone,
    /// C6: the tombstone of an expired value has the value's version.
    ExpirySame,
    /// C6: a newer version of the same line counts as an acknowledgement of an expiry's tombstone.
    ExpiryCounts,
    /// L2: a restarted manager waits for a shorter lease than it may have granted.
    ShortLease,
    /// H4: a loss is accepted although it differs from the one that the operator was shown.
    AcceptMore,
    /// A refused command or registration leaves a change of state behind.
    WaitLeaves,
    /// L5: a copy of a data folder that was seen beside its original takes its place once that is
    /// silent.
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

/// Whether a rule is switched off.
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

    /// Whether a rule is switched off, in this thread or in this process.
    pub fn is_on(mutation: Mutation) -> bool {
        let everywhere = EVERYWHERE.get_or_init(|| {
            let name = std::env::var("GTSTORE_MUTATION").ok()?;
            Mutation::ALL.into_iter().find(|m| format!("{m:?}") == name)
        });
        HERE.get() == Some(mutation) || *everywhere == Some(mutation)
    }

    /// Runs a closure with a rule switched off in this thread.
    pub fn with<T>(mutation: Mutation, run: impl FnOnce() -> T) -> T {
        HERE.set(Some(mutation));
        let result = run();
        HERE.set(None);
        result
    }
}
