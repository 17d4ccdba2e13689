//! Counts of the events in a run: they show whether the seeds reach the intended situations.

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of events.
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
    /// Operations that were done.
    done,
    /// Operations that certainly had no effect.
    failed,
    /// Operations with an unknown outcome.
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
    /// Watermarks for another client's writer, or for later writes.
    lies,
    /// Older copies of the manager's folder that took its place.
    older,
    /// Nodes refused since the views that they had seen were given up.
    given_up,
    /// Clients killed in mid fan-out.
    abandoned,
    /// Nodes that joined.
    joins,
    /// Records that nodes began to complete.
    finishes,
    /// Nodes asked for a heartbeat.
    probes,
    /// Arcs that were compared with a node's stale records.
    compared,
    /// Orders of the operator.
    orders,
    /// Changes that were granted.
    granted,
    /// Changes that were cancelled.
    cancelled,
    /// Changes of the least copies of a write.
    least_orders,
    /// Writes that were acknowledged where more than one synced copy was promised.
    guarded,
    /// Operations that were refused since too few copies would hold them.
    few_copies,
    /// Nodes that left as ordered.
    left,
    /// Times that K replicas or more were killed at once.
    mass_kills,
    /// Losses that were accepted.
    accepted,
    /// Losses that were not accepted since they differed from those shown.
    changed,
    /// Values that were put with an expiry time.
    mortal,
    /// Replicas that replaced one with a tombstone.
    expired,
    /// Read-modify-writes that extended the life of such a value.
    renewed,
    /// Nodes that lost their power.
    power,
    /// Times that all nodes, or all replicas of a key, ended at once and came back from disk.
    outages,
    /// Nodes that became replacements of their last incarnations.
    replacements,
    /// Arcs that were gathered.
    gathered,
    /// Times that the operator accepted a loss since the nodes named in the health were back
    /// without records.
    nothings,
    /// Data folders that were copied and started beside the original.
    copied,
    /// Last holders that ended and lost their disks before they knew that the others had ended.
    toppled,
    /// Disks that were lost.
    disks,
}
