//! What happened in a run, in numbers: they tell whether the seeds bring about what they are to bring about.

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened, in numbers.
        #[derive(Debug, Clone, Copy, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Adds another run's.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// Events worked through.
    steps,
    /// Operations that ended well.
    done,
    /// Operations that certainly had no effect.
    failed,
    /// Operations of which nobody knows.
    unknown,
    /// Primaries killed between the steps of a read-modify-write.
    primaries_killed,
    /// Puts and deletes that took a fresh version.
    freshened,
    /// Views that became active.
    views,
    /// Nodes killed.
    kills,
    /// Nodes started again at once.
    restarts,
    /// Processes stopped and continued.
    pauses,
    /// Parties cut off from each other.
    cuts,
    /// Connections broken.
    broken,
    /// Frames delivered twice.
    ghosts,
    /// Manager crashes.
    manager_crashes,
    /// Marks of another's writer, or of what is still to be written.
    lies,
    /// Older copies of the manager's folder that took its place.
    older,
    /// Nodes refused for good, since what they had seen was given up.
    given_up,
    /// Clients killed in mid fan-out.
    abandoned,
    /// Nodes that joined.
    joins,
    /// Records that nodes set out to finish.
    finishes,
    /// Nodes asked for a heartbeat.
    probes,
    /// Arcs that were compared with what a node held in an earlier life.
    compared,
    /// Orders of the operator.
    orders,
    /// Changes that came of them.
    granted,
    /// Changes that were cancelled.
    cancelled,
    /// Changes of the least copies of a write.
    least_orders,
    /// Writes that were acknowledged where more than one synced copy was promised.
    guarded,
    /// Operations that were refused, since too few copies would hold them.
    few_copies,
    /// Nodes that left as they were asked to.
    left,
    /// Times that K replicas or more were killed at once.
    mass_kills,
    /// Losses that were accepted.
    accepted,
    /// Losses that were not accepted, since they were others than those shown.
    changed,
    /// Values that were put until a time.
    mortal,
    /// Replicas of them that put a tombstone in their place.
    expired,
    /// Read-modify-writes that found such a value, and left one that lives longer.
    renewed,
    /// Nodes that lost their power.
    power,
    /// Times that everybody, or all who kept some key, ended at once and came back from disk.
    outages,
    /// Nodes that became replacements of their last lives.
    replacements,
    /// Arcs that were gathered.
    gathered,
    /// Times that the operator went on without whom the health named, since they were back with nothing.
    nothings,
    /// Data folders that were copied and started beside the original.
    copied,
    /// Last holders that ended, with their disks, before they knew that the others had.
    toppled,
    /// Disks that were lost.
    disks,
}
