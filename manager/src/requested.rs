//! Settings that flags request of a cluster that may exist already.
//!
//! The number of copies, the limits, the durability, the ring and the terms of leases belong to the
//! cluster: the first start sets them, they are saved, and only admin commands change them. A later
//! start does not use such flags, and logs a warning for each that differs.

use std::fmt;

use cluster::durability::Durability;
use cluster::limits::Limits;
use cluster::membership::{Saved, Settings};
use cluster::time::Millis;

/// The assumed longest valid lease where the saved state does not record it, in milliseconds: five
/// times the default, for the slowest heartbeats that an operator is likely to have chosen.
const ASSUMED_LEASE_MS: Millis = 30_000;

/// The settings that flags request; `None` where a flag is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestedSettings {
    /// Copies of each key (K).
    pub copies: Option<usize>,
    /// The smallest number of synced copies of a write.
    pub min_copies: Option<usize>,
    /// What survives when all replicas of a key fail at once.
    pub durability: Option<Durability>,
    /// How often a node sends a heartbeat, in milliseconds.
    pub heartbeat_ms: Option<Millis>,
    /// How many heartbeats a node may miss.
    pub missed: Option<u32>,
    /// The longest key, in bytes.
    pub key_bytes: Option<usize>,
    /// The longest value, in bytes.
    pub value_bytes: Option<usize>,
    /// Arcs of the ring.
    pub arcs: Option<usize>,
    /// The length of the leases of the previous manager, in milliseconds, where the saved state
    /// does not record it.
    pub lease_was_ms: Option<Millis>,
    /// Whether to continue from an older copy of the folder, as reported before.
    pub accept_older: bool,
}

impl RequestedSettings {
    /// The settings of a new cluster: the requested ones over `default`.
    pub fn of_new(&self, default: Settings) -> Settings {
        Settings {
            copies: self.copies.unwrap_or(default.copies),
            min_copies: self.min_copies.unwrap_or(default.min_copies),
            durability: self.durability.unwrap_or(default.durability),
            heartbeat_ms: self.heartbeat_ms.unwrap_or(default.heartbeat_ms),
            missed: self.missed.unwrap_or(default.missed),
            limits: Limits {
                key_bytes: self.key_bytes.unwrap_or(default.limits.key_bytes),
                value_bytes: self.value_bytes.unwrap_or(default.limits.value_bytes),
            },
            arcs: self.arcs.unwrap_or(default.arcs),
            ..default
        }
    }

    /// The longest lease to assume where the saved state does not record it.
    pub fn longest_assumed_ms(&self, settings: &Settings) -> Millis {
        settings.lease_ms().max(self.lease_was_ms.unwrap_or(ASSUMED_LEASE_MS))
    }

    /// A line for each requested setting that differs from the cluster's and is not used.
    pub fn unused(&self, saved: &Saved) -> Vec<String> {
        let (view, terms) = (&saved.active, &saved.terms);
        let arcs = Some(view.arcs.len()).filter(|&arcs| arcs > 0);
        let (keys, values) = (view.limits.key_bytes, view.limits.value_bytes);
        let lines = [
            unused("rep", self.copies, Some(view.copies), Some("rep")),
            unused("min-copies", self.min_copies, Some(view.min_copies), Some("min-copies")),
            unused("durability", self.durability, Some(view.durability), None),
            unused(
                "heartbeat-ms",
                self.heartbeat_ms,
                Some(terms.heartbeat_ms),
                Some("heartbeat-ms"),
            ),
            unused("missed", self.missed, Some(terms.missed), Some("missed")),
            unused("max-key", self.key_bytes, Some(keys), Some("limits key=")),
            unused("max-value", self.value_bytes, Some(values), Some("limits value=")),
            unused("arcs", self.arcs, arcs, None),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// The line for a flag that differs from the cluster's value, with the client's flag that changes
/// it, if there is one.
fn unused<T: PartialEq + fmt::Display>(
    flag: &str,
    asked: Option<T>,
    is: Option<T>,
    order: Option<&str>,
) -> Option<String> {
    let (asked, is) = (asked?, is?);
    let changes = order.map_or(String::new(), |order| {
        if order.ends_with('=') {
            format!("; client --{order}{asked} changes it")
        } else {
            format!("; client --{order} {asked} changes it")
        }
    });
    let line =
        || format!("--{flag} {asked} is not used: the cluster has {is}, which stays{changes}");
    (asked != is).then(line)
}

#[cfg(test)]
mod tests {
    use cluster::ids::ClusterId;
    use cluster::lease::Terms;
    use cluster::view::View;

    use super::*;

    fn saved() -> Saved {
        let view = View::unborn(ClusterId(1), 2, Limits { key_bytes: 20, value_bytes: 1024 });
        let view = View { arcs: vec![0; 8], durability: Durability::Sync, ..view };
        Saved::new(view, Terms { heartbeat_ms: 10_000, missed: 3 })
    }

    #[test]
    fn settings_that_differ_from_the_cluster_s_are_reported() {
        let other = RequestedSettings {
            copies: Some(3),
            min_copies: Some(2),
            durability: Some(Durability::Async),
            heartbeat_ms: Some(300),
            missed: Some(2),
            key_bytes: Some(30),
            value_bytes: Some(30),
            arcs: Some(16),
            lease_was_ms: None,
            accept_older: false,
        };
        let lines = other.unused(&saved());
        assert_eq!(lines.len(), 8, "{lines:#?}");
        assert_eq!(
            lines[0],
            "--rep 3 is not used: the cluster has 2, which stays; client --rep 3 changes it"
        );
        assert_eq!(
            lines[3],
            "--heartbeat-ms 300 is not used: the cluster has 10000, which stays; client --heartbeat-ms 300 changes it"
        );
    }

    #[test]
    fn equal_and_absent_settings_are_not_reported() {
        let same = RequestedSettings {
            copies: Some(2),
            heartbeat_ms: Some(10_000),
            ..RequestedSettings::default()
        };
        assert!(same.unused(&saved()).is_empty());
        assert!(RequestedSettings::default().unused(&saved()).is_empty());
    }
}
